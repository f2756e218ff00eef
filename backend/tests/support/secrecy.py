"""A grep for secrets: in every form that a text, a header, an address, a dump or a database could give them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

_HEX = re.compile(r"(?:0[xX])?((?:[0-9a-fA-F]{2}){8,})")
_SHORTEST_FORM = 8
"""A shorter one would be found by chance."""


def exact_forms(secret: str) -> frozenset[bytes]:
    """How a secret looks in base64 of either alphabet, and as the bytes that its hex digits stand for.

    Base64 shifts with what stands before it, as in ``Basic`` authorization: each of its three phases is a form.
    """
    raws = [secret.encode()]
    digits = _HEX.fullmatch(secret)
    if digits is not None:
        raws.append(bytes.fromhex(digits[1]))
    found = set(raws[1:])
    for raw in raws:
        for phase in range(3):
            whole = base64.b64encode(b"\0" * phase + raw).rstrip(b"=")
            end = -1 if (phase + len(raw)) % 3 else None  # the last character depends on what follows
            coded = whole[(0, 2, 3)[phase] : end]
            found |= {coded, coded.translate(bytes.maketrans(b"+/", b"-_")), quote(coded.decode(), safe="").encode()}
    return frozenset(form for form in found if len(form) >= _SHORTEST_FORM)


def caseless_forms(secret: str) -> frozenset[bytes]:
    """How a secret looks in a text, an address, JSON or a dump, in lower case."""
    texts = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    digits = _HEX.fullmatch(secret)
    if digits is not None:
        texts.add(digits[1])
    return frozenset(text.encode().lower() for text in (*texts, secret.encode().hex()))


def leaks(places: Mapping[str, bytes], secrets: Mapping[str, str]) -> list[str]:
    """Which secret is where, by their names: never the secret itself."""
    exact = {name: exact_forms(secret) for name, secret in secrets.items()}
    caseless = {name: caseless_forms(secret) for name, secret in secrets.items()}
    found = []
    for place, content in places.items():
        lower = content.lower()
        found += [
            f"{name} in {place}"
            for name in secrets
            if any(form in content for form in exact[name]) or any(form in lower for form in caseless[name])
        ]
    return found
