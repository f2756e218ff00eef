"""The venue's deterministic heart: no I/O, no wall clock, no global randomness; money is Decimal."""
