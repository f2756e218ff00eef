"""The trading execution service: from a trading decision to a protected position on AsterDEX."""
