"""Pure values and tables of trading: standard library only, no I/O, no clock, no framework."""
