"""What the public sees of each symbol over time: trades, candles, 24-hour figures."""
