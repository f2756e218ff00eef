"""The proof: the real service on the venue's core in one process, on virtual time, under seeded chaos.

Read in this order: ``loop`` (time and order), ``exchange`` (the venue without its socket), ``wire`` (the network),
``disk`` (the database without fsync), ``process`` (the service, and how it dies), ``keeper`` (what starts it again, and
a second one beside it), ``world`` (what a seed makes), ``stage`` (a world performed), ``rules`` (what must hold),
``soak`` (thousands of them).
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "scenarios"))  # the rules of the storm's ledger are these rules too
