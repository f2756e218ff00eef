"""How long tests wait for what must come."""

import os

PATIENCE_S = float(os.environ.get("TES_TEST_PATIENCE_S", "120"))
"""Only what hangs takes that long, on a machine however busy. Shorter where a rule is broken on purpose."""
