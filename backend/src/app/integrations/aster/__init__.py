"""The typed door to AsterDEX: ``client.AsterClient`` and ``streams.UserStream``."""
