"""The command line: ``tes`` (contract, section 2)."""
