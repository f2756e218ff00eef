"""Signatures equal the exchange's published vectors and the reference implementation's."""

from __future__ import annotations

import random

import pytest
from aster_doubles import PUBLIC_KEY_OF_THE_DOCS, SIGNER

from app.domain.errors import ConfigurationError
from app.integrations.aster.signing import V1Signer, V3Signer, address_of
from support.sim_client import sign_v3

VECTORS = [
    (
        1666,
        (
            "symbol=ASTERUSDT&type=LIMIT&side=BUY&timeInForce=GTC&quantity=20&price=0.5&nonce=1748310859508867"
            "&user=0x63DD5aCC6b1aa0f563956C0e534DD30B6dcF7C4e&signer=0x21cF8Ae13Bb72632562c6Fff438652Ba1a151bb0"
        ),
        "214122039b686e20a15baab91d368d354cf8c88067cb8b0e96e9018d8b08a625",
        (
            "0a56c5923ebf3524475c5f631940ec4c0e41dbd300ad28198d1915d8f3ca49ce"
            "26fd1aeb8b0c3079133595da0de38322ae7e860e0c76d032c4a491d27c1430b01c"
        ),
    ),
    (
        714,
        "nonce=1748310859508867&signer=0x21cF8Ae13Bb72632562c6Fff438652Ba1a151bb0",
        "82a021bbc2deda6682bad987800125e5688e4d9425474d4ef401fa9d4aaa41dd",
        (
            "2579c8dbfb5b908736407164cbb6bc270af2fcde07b5253c8908656c0720537f"
            "0dca80577799f22fd3fc9696787154a76c1bcacf215cb12ce9413396185ba1661b"
        ),
    ),
]


@pytest.mark.parametrize(("chain_id", "message", "digest", "signature"), VECTORS)
def test_v3_signature_equals_the_published_vector(chain_id: int, message: str, digest: str, signature: str) -> None:
    """Fact sheet, section 2."""
    signer = V3Signer(PUBLIC_KEY_OF_THE_DOCS, chain_id)
    assert signer.digest(message).hex() == digest
    assert signer.sign(message) == "0x" + signature


def test_v1_signature_equals_the_published_vector() -> None:
    """Fact sheet, section 3."""
    signer = V1Signer("2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9")
    message = (
        "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000"
        "&timestamp=1591702613943"
    )
    expected = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"
    assert signer.sign(message) == expected
    assert signer.sign(message) == expected, "a signer can be used again"


def _random_message(source: random.Random) -> str:
    length = source.choice([0, 1, 7, 31, 32, 33, 135, 136, 137, 300, 4000])
    alphabet = source.choice(["abc=&123.%", "äöü€币安人生 ☃", "".join(map(chr, range(32, 127)))])
    return "".join(source.choice(alphabet) for _ in range(length))


@pytest.mark.long
def test_v3_signatures_equal_those_of_eth_account_on_random_messages() -> None:
    seed = random.SystemRandom().getrandbits(32)
    source = random.Random(seed)
    for round_ in range(300):
        private_key = f"{source.getrandbits(255) + 1:064x}"
        chain_id = source.choice([1666, 714, 56, 101, 2**60])
        message = _random_message(source)
        ours = V3Signer(private_key, chain_id).sign(message)
        assert ours == sign_v3(message, private_key, chain_id), f"seed {seed}, round {round_}: {message!r}"


def test_address_is_the_checksummed_one() -> None:
    assert address_of(PUBLIC_KEY_OF_THE_DOCS) == SIGNER
    assert address_of(PUBLIC_KEY_OF_THE_DOCS.removeprefix("0x")) == SIGNER
    assert address_of("07" * 32) == "0x4a62316623ad457F02cDC5D997deD67a383EC569"  # by eth-account


@pytest.mark.parametrize("text", ["", "0x", "zz" * 32, "ab" * 31, "00" * 32, "ff" * 32, " " + "ab" * 32])
def test_malformed_private_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        V3Signer(text, 714)
    assert len(text) < 10 or text not in str(refusal.value)


def test_reprs_show_no_secret() -> None:
    shown = repr(V3Signer(PUBLIC_KEY_OF_THE_DOCS, 714)) + repr(V1Signer("the-secret"))
    assert PUBLIC_KEY_OF_THE_DOCS[2:] not in shown
    assert "the-secret" not in shown
