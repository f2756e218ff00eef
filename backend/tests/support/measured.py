"""Prometheus text, read the way Prometheus reads it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: bytes) -> Samples:
    """Every sample by its name and labels."""
    families = text_string_to_metric_families(text.decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(seen: Samples, name: str, **labels: str) -> float | None:
    """One sample of the account ``default``, or of the process where ``account`` is empty; None when there is none."""
    wanted = {"account": "default", **labels}
    return seen.get((name, frozenset((key, text) for key, text in wanted.items() if text)))
