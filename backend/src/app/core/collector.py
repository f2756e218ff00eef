"""The garbage collector of a process that serves for long."""

from __future__ import annotations

import gc

_FIRST_GENERATION = 20_000
_SECOND_GENERATION = 20
_THIRD_GENERATION = 100


def spare_what_stays() -> None:
    """Call once, when everything is started: what lives by then lives as long as the process and is not searched again.

    New objects are searched less often, too: nearly all are freed by their reference counts, and a search holds up
    orders that are leaving. For a process's own entry point, not for libraries.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_FIRST_GENERATION, _SECOND_GENERATION, _THIRD_GENERATION)
