"""The grep that looks for secrets finds a planted one, whatever form it took."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from support.secrecy import leaks

KEY = "0x" + bytes(range(17, 49)).hex()
PHRASE = 'pa ss/word+"7"-and-more'
CODINGS: dict[str, Callable[[str], bytes]] = {
    "as it is": str.encode,
    "upper case": lambda secret: secret.upper().encode(),
    "without 0x": lambda secret: secret.removeprefix("0x").encode(),
    "in an address": lambda secret: quote(secret, safe="").encode(),
    "in a form": lambda secret: quote_plus(secret).encode(),
    "in JSON": lambda secret: json.dumps(secret).encode(),
    "base64": lambda secret: base64.b64encode(secret.encode()),
    "basic authorization": lambda secret: base64.b64encode(b"me:" + secret.encode()),
    "base64 of two": lambda secret: base64.b64encode(b"user:" + secret.encode() + b"!"),
    "base64 for addresses": lambda secret: base64.urlsafe_b64encode(b"x" + secret.encode()),
    "dumped": lambda secret: secret.encode().hex().encode(),
    "dumped in upper case": lambda secret: secret.encode().hex().upper().encode(),
}
OF_KEYS: dict[str, Callable[[str], bytes]] = {
    "as bytes": lambda key: bytes.fromhex(key.removeprefix("0x")),
    "its bytes in base64": lambda key: base64.b64encode(b"k=" + bytes.fromhex(key.removeprefix("0x"))),
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("secret", [KEY, PHRASE], ids=["key", "phrase"])
def test_a_secret_is_found_in_each_form(secret: str, coding: str) -> None:
    content = b"\x00\xff some text " + CODINGS[coding](secret) + b" and more"
    assert leaks({"a log": content}, {"the secret": secret}) == ["the secret in a log"]


@pytest.mark.parametrize("coding", OF_KEYS)
def test_the_bytes_of_a_key_are_found(coding: str) -> None:
    assert leaks({"a log": b"\x00" + OF_KEYS[coding](KEY)}, {"key": KEY}) == ["key in a log"]


def test_nothing_is_found_where_there_is_nothing() -> None:
    content = json.dumps({"hash": "ab" * 32, "text": "a phrase and more"}).encode()
    assert leaks({"a log": content}, {"key": KEY, "phrase": PHRASE}) == []
