"""Where the venue's prices come from: a seeded random walk, recorded candles, or the control API."""
