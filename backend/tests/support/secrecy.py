"""A grep for secrets: in every form that a text, a header, an address, a dump or a database could give them."""

from __future__ import annotations

import base64
import json
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

SHORTEST_SECRET = 16
"""Characters that a secret must have: a shorter one would be found by chance."""
_HEX = re.compile(r"(?:0[xX])?((?:[0-9a-fA-F]{2}){8,})")
_WORD = 8
_SHORTEST_FORM = 2 * _WORD - 1
"""So many bytes cover one whole word, wherever words begin."""
_CHUNK = 1 << 22


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


class Secrets:
    """Secrets to look for, by name. A search takes as long for thousands as for one.

    A content is read in words of eight bytes. Whatever holds a form of a secret holds one of the eight words that can
    begin at one of the form's first eight bytes: only where such a word is, the forms themselves are looked for.
    """

    def __init__(self, named: Mapping[str, str] | None = None) -> None:
        self._names: dict[str, str] = {}
        self._waiting: list[str] = []
        self._owners: defaultdict[int, set[str]] = defaultdict(set)
        self._longest = 0
        for name, secret in (named or {}).items():
            self.add(name, secret)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, secret: str) -> bool:
        return secret in self._names

    def add(self, name: str, secret: str) -> None:
        """Look for a secret from now on; one that is known keeps its name.

        Raises:
            ValueError: it is shorter than ``SHORTEST_SECRET``.
        """
        if len(secret) < SHORTEST_SECRET:
            raise ValueError(f"{name} has less than {SHORTEST_SECRET} characters and would be found by chance")
        if secret not in self._names:
            self._names[secret] = name
            self._waiting.append(secret)

    def found_in(self, content: bytes | bytearray) -> list[str]:
        """The names of the secrets that a content shows in any form, in the order in which they were added."""
        self._learn()
        lower = content.lower()
        words = array("Q")
        words.frombytes(memoryview(lower)[: len(lower) // _WORD * _WORD])
        if self._owners.keys().isdisjoint(words):
            return []
        suspects = set().union(*(self._owners[word] for word in self._owners.keys() & set(words)))
        return [
            name
            for secret, name in self._names.items()
            if secret in suspects
            and (
                any(form in content for form in exact_forms(secret))
                or any(form in lower for form in caseless_forms(secret))
            )
        ]

    def found_in_file(self, path: Path) -> list[str]:
        """As :meth:`found_in`, for a file of any size."""
        found: dict[str, None] = {}
        tail = b""
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                content = tail + chunk
                found |= dict.fromkeys(self.found_in(content))
                tail = content[-self._longest :]
        return list(found)

    def _learn(self) -> None:
        while self._waiting:
            secret = self._waiting.pop()
            for form in _smallest(form.lower() for form in exact_forms(secret) | caseless_forms(secret)):
                self._longest = max(self._longest, len(form))
                for start in range(_WORD):
                    word = array("Q", form[start : start + _WORD])[0]
                    self._owners[word].add(secret)


def _smallest(forms: Iterable[bytes]) -> list[bytes]:
    """The forms that hold no other one: who looks for these finds all."""
    kept: list[bytes] = []
    for form in sorted(set(forms), key=len):
        if not any(other in form for other in kept):
            kept.append(form)
    return kept


def leaks(places: Mapping[str, bytes], secrets: Mapping[str, str]) -> list[str]:
    """Which secret is where, by their names: never the secret itself."""
    wanted = Secrets(secrets)
    return [f"{name} in {place}" for place, content in places.items() for name in wanted.found_in(content)]
