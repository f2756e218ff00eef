"""Who may ask for what: API tokens with scopes, of which only hashes are kept (contract, section 6; ``SECURITY.md``).

A token that we make has 192 random bits, so one fast hash is enough: there is nothing to guess. Every comparison is
made in constant time and against every token, so that the time an answer takes says nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

TOKEN_BITS = 192
_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64})\s+(?P<scope>read|trade|admin)\s+sha256:(?P<digest>[0-9a-fA-F]{64})")


class Scope(StrEnum):
    """What a token may do; each includes the one before."""

    READ = "read"
    """Look at everything."""
    TRADE = "trade"
    """Send decisions, close, reconcile, halt: whatever trades, or stops trading."""
    ADMIN = "admin"
    """Resume after a halt."""

    def includes(self, other: Scope) -> bool:
        """Whether whoever has this scope may do what needs the other."""
        return _ORDER.index(self) >= _ORDER.index(other)


_ORDER = (Scope.READ, Scope.TRADE, Scope.ADMIN)


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What is known of a token: never the token."""

    name: str
    scope: Scope
    digest: bytes = field(repr=False)

    def line(self) -> str:
        """Its line in ``TES_API_TOKENS_FILE``."""
        return f"{self.name} {self.scope.value} sha256:{self.digest.hex()}"


def record_of(name: str, scope: Scope, token: str) -> TokenRecord:
    """The record of a token."""
    return TokenRecord(name, scope, _digest(token))


def read_records(text: str) -> tuple[TokenRecord, ...]:
    """Read lines of ``NAME SCOPE sha256:HEX``; commas separate as well, ``#`` begins a comment.

    Raises:
        ValueError: a line has another shape, or two have one name. The message never shows the line.
    """
    records: dict[str, TokenRecord] = {}
    lines = re.sub(r"#[^\n]*", "", text).replace(",", "\n").splitlines()
    for number, line in enumerate((line.strip() for line in lines), start=1):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is not NAME SCOPE sha256:HEX")
        if match["name"] in records:
            raise ValueError(f"line {number} names {match['name']} again")
        records[match["name"]] = TokenRecord(match["name"], Scope(match["scope"]), bytes.fromhex(match["digest"]))
    return tuple(records.values())


class TokenBook:
    """Every token that opens the API."""

    def __init__(self, records: Iterable[TokenRecord]) -> None:
        self._records = tuple(records)

    def find(self, token: str) -> TokenRecord | None:
        """Whose token this is, or None; takes as long for one as for the other."""
        digest = _digest(token)
        found = None
        for record in self._records:
            if hmac.compare_digest(digest, record.digest):
                found = record
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
