"""The collector of a long-lived process, in a process of its own: it is a setting of the whole interpreter."""

from __future__ import annotations

import subprocess
import sys

from support.patience import PATIENCE_S

SCRIPT = """
import gc
from app.core.collector import spare_what_stays
before = gc.get_threshold()[0]
spare_what_stays()
assert gc.get_freeze_count() > 0 and gc.isenabled() and gc.get_threshold()[0] > before
"""


def test_what_is_there_at_the_start_is_spared_and_the_collector_goes_on() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=PATIENCE_S)
