"""Alerts to people: which are told when, in what words, and how they reach the operator's channels."""
