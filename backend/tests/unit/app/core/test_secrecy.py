"""The grep that looks for secrets finds a planted one, whatever form it took."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from support.secrecy import SHORTEST_SECRET, Secrets, leaks

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


def test_the_shortest_secret_is_found_wherever_it_begins_and_among_thousands() -> None:
    named = {f"number {number}": f"{number * 7**15:0{SHORTEST_SECRET}x}" for number in range(1, 2000)}
    wanted = Secrets(named)
    for before in range(17):
        content = b"." * before + named["number 1234"].encode() + b" "
        assert wanted.found_in(content) == ["number 1234"], before


def test_a_secret_that_chance_would_find_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="the token has less than 16 characters") as refused:
        Secrets({"the token": "fifteen-letters"})
    assert "fifteen-letters" not in str(refused.value)


def test_a_large_file_is_searched_without_a_gap(tmp_path: Path) -> None:
    file = tmp_path / "log"
    wanted = Secrets({"key": KEY})
    for before in (0, 4 * 1024 * 1024 - 33, 4 * 1024 * 1024, 8 * 1024 * 1024 - len(KEY) + 1):
        file.write_bytes(b"." * before + KEY.encode() + b"." * 100)
        assert wanted.found_in_file(file) == ["key"], before
    file.write_bytes(b"." * 4 * 1024 * 1024)
    assert wanted.found_in_file(file) == []
