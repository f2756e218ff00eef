"""Who may trade: the accounts a venue is started with, and the keys that it hands out for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from coincurve import PrivateKey
from sha3 import keccak_256

from aster_sim.core.numbers import parse_decimal

_FIELDS = frozenset({"name", "balance", "user", "signer", "private_key", "api_key", "api_secret"})


class AccountSpecError(ValueError):
    """An account description that cannot be used; the message names account and field, never a secret."""


@dataclass(frozen=True, slots=True)
class AccountSpec:
    """An account to create: a name, a deposit in USDT, and whatever credentials the caller wants to choose."""

    name: str
    balance: Decimal = Decimal(10_000)
    user: str | None = None
    signer: str | None = None
    private_key: str | None = field(default=None, repr=False)
    api_key: str | None = None
    api_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AccountCredentials:
    """What a client needs to trade on an account; secrets never show in a repr."""

    name: str
    user: str
    signer: str
    private_key: str = field(repr=False)
    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    balance: Decimal


def keccak(data: bytes) -> bytes:
    """Keccak-256, the Ethereum kind."""
    return bytes(keccak_256(data).digest())


def address_of(public_key: bytes) -> str:
    """The checksummed address (EIP-55) of an uncompressed public key without its leading byte."""
    return checksummed(keccak(public_key)[-20:].hex())


def checksummed(hex_address: str) -> str:
    """EIP-55 spelling of 40 hex digits."""
    digits = hex_address.lower()
    digest = keccak(digits.encode()).hex()
    return "0x" + "".join(
        char.upper() if int(nibble, 16) >= 8 else char for char, nibble in zip(digits, digest, strict=False)
    )


def _address_from_key(account: str, private_key: str) -> str:
    try:
        key = PrivateKey.from_hex(private_key.removeprefix("0x"))
    except ValueError:
        raise AccountSpecError(f"account {account}: private_key is not a valid secp256k1 key") from None
    return address_of(key.public_key.format(compressed=False)[1:])


def complete(spec: AccountSpec, entropy: Callable[[int], str]) -> AccountCredentials:
    """Fill in what the caller left open with fresh credentials.

    An account without a user is a wallet that trades for itself, which is how ccxt signs; name a user to have an
    agent's key beside it.
    Without a private key the signer is only an address, which needs one from the caller: a venue cannot
    sign for it, only recognise it. Raises AccountSpecError for a key that is none, or not the signer's.
    """
    private_key = spec.private_key or ("" if spec.signer else "0x" + entropy(32))
    if private_key:
        private_key = "0x" + private_key.removeprefix("0x")
        signer = _address_from_key(spec.name, private_key)
        if spec.signer and spec.signer.lower() != signer.lower():
            raise AccountSpecError(f"account {spec.name}: signer is not the address of private_key")
    else:
        signer = spec.signer or ""
    return AccountCredentials(
        name=spec.name,
        user=spec.user or signer,
        signer=signer,
        private_key=private_key,
        api_key=spec.api_key or entropy(32),
        api_secret=spec.api_secret or entropy(32),
        balance=spec.balance,
    )


def parse_spec(row: Mapping[str, Any]) -> AccountSpec:
    """An account from JSON.  Raises AccountSpecError naming the field."""
    name = row.get("name")
    if not isinstance(name, str) or not name:
        raise AccountSpecError("an account needs a 'name'")
    unknown = sorted(row.keys() - _FIELDS)
    if unknown:
        raise AccountSpecError(f"account {name}: unknown field(s) {', '.join(unknown)}")
    balance = parse_decimal(str(row.get("balance", "10000")))
    if balance is None or balance < 0:
        raise AccountSpecError(f"account {name}: balance must be a number of USDT, zero or more")
    texts = {key: row.get(key) for key in _FIELDS - {"name", "balance"}}
    for key, value in texts.items():
        if value is not None and (not isinstance(value, str) or not value):
            raise AccountSpecError(f"account {name}: {key} must be a text that is not empty")
    return AccountSpec(name=name, balance=balance, **texts)


def load_accounts(path: Path) -> list[AccountSpec]:
    """Accounts from a JSON list of ``{"name", "balance", "user"?, "private_key"?, …}``.

    Raises AccountSpecError for a file that cannot be read or an entry that cannot be used.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"), parse_float=str)
    except (OSError, ValueError) as error:
        raise AccountSpecError(f"accounts file {path.name}: cannot be read as JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise AccountSpecError(f"accounts file {path.name}: expected a JSON list of objects")
    specs = [parse_spec(row) for row in rows]
    if len({spec.name for spec in specs}) != len(specs):
        raise AccountSpecError(f"accounts file {path.name}: two accounts have the same name")
    return specs
