"""The proof: the real service on the venue's core in one process, on virtual time, under seeded chaos.

Read in this order: ``loop`` (time and order), ``exchange`` (the venue without its socket), ``wire`` (the network),
``disk`` (the database without fsync), ``process`` (the service, and how it dies), ``world`` (what a seed makes),
``stage`` (a world performed), ``rules`` (what must hold), ``soak`` (thousands of them).
"""
