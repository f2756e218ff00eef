"""Whose shape a document with decisions has."""

from __future__ import annotations

from enum import StrEnum


class DecisionFormat(StrEnum):
    """Whose shape a document has, where it is not ours. Sizes in both are notionals."""

    NOFX = "nofx"
    NOCTURNE = "nocturne"
