"""Signatures, nonces, timestamps (asterdex-facts.md sections 2, 3 and 12)."""

from __future__ import annotations

import hashlib
import hmac
import importlib
from decimal import Decimal
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aster_sim.auth import Authenticator, NonceWindow, split_signature
from aster_sim.core.errors import VenueError
from aster_sim.credentials import AccountSpec, AccountSpecError, complete
from support.examples import at_most
from support.sim_client import sign_v3


@pytest.fixture(scope="module", autouse=True)
def _signer_is_imported() -> None:
    """Its import raises the interpreter's recursion limit, which hypothesis complains about in the middle of a test."""
    importlib.import_module("eth_account")


KEY = "0x4fd0a42218f3eae43a6ce26d22544e986139a01e5b34a62db53757ffca81bae1"
SIGNER = "0x21cF8Ae13Bb72632562c6Fff438652Ba1a151bb0"
USER = "0x63DD5aCC6b1aa0f563956C0e534DD30B6dcF7C4e"
API_KEY = "k" * 64
SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
NONCE = 1748310859508867
WINDOW_US = 60_000_000

VECTORS = [
    (
        1666,
        (
            f"symbol=ASTERUSDT&type=LIMIT&side=BUY&timeInForce=GTC&quantity=20&price=0.5&nonce={NONCE}"
            f"&user={USER}&signer={SIGNER}"
        ),
        "214122039b686e20a15baab91d368d354cf8c88067cb8b0e96e9018d8b08a625",
        (
            "0a56c5923ebf3524475c5f631940ec4c0e41dbd300ad28198d1915d8f3ca49ce"
            "26fd1aeb8b0c3079133595da0de38322ae7e860e0c76d032c4a491d27c1430b01c"
        ),
    ),
    (
        714,
        f"nonce={NONCE}&signer={SIGNER}",
        "82a021bbc2deda6682bad987800125e5688e4d9425474d4ef401fa9d4aaa41dd",
        (
            "2579c8dbfb5b908736407164cbb6bc270af2fcde07b5253c8908656c0720537f"
            "0dca80577799f22fd3fc9696787154a76c1bcacf215cb12ce9413396185ba1661b"
        ),
    ),
]


def _entropy(size: int) -> str:
    return hashlib.sha256(b"the same ones each time").hexdigest()[: 2 * size]


def _auth(chain_id: int = 714) -> Authenticator:
    auth = Authenticator(chain_id, 60)
    spec = AccountSpec("alice", Decimal(1), user=USER, private_key=KEY, api_key=API_KEY, api_secret=SECRET)
    auth.register(complete(spec, _entropy))
    return auth


def _verify(auth: Authenticator, raw: str, now_us: int = NONCE) -> str:
    return auth.verify_v3(raw.encode(), dict(parse_qsl(raw)), now_us)


def _code(auth: Authenticator, raw: str, now_us: int = NONCE) -> tuple[int, str]:
    with pytest.raises(VenueError) as refusal:
        _verify(auth, raw, now_us)
    return refusal.value.code, refusal.value.msg


def _signed(nonce: int, rest: str = "", chain_id: int = 714, signer: str = SIGNER) -> str:
    message = f"{rest}nonce={nonce}&signer={signer}"
    return f"{message}&signature={sign_v3(message, KEY, chain_id)}"


@pytest.mark.parametrize(("chain_id", "message", "digest", "signature"), VECTORS)
def test_the_published_vectors_verify_with_and_without_user(chain_id, message, digest, signature):
    auth = _auth(chain_id)
    assert auth.digest(message.encode()).hex() == digest
    assert _verify(auth, f"{message}&signature=0x{signature}") == "alice"


def test_the_prefix_of_the_signature_is_optional():
    _, message, _, signature = VECTORS[1]
    assert _verify(_auth(), f"{message}&signature={signature}") == "alice"


@settings(max_examples=at_most(40), deadline=None)
@given(message=st.text(st.characters(codec="ascii", exclude_characters="&"), max_size=200))
def test_any_message_signed_by_eth_account_is_recognised(message):
    assert _auth().recover(message.encode(), sign_v3(message, KEY, 714)) == SIGNER.lower()


def test_a_changed_byte_an_other_network_or_a_stranger_is_refused():
    raw = _signed(NONCE, "symbol=BTCUSDT&")
    assert _code(_auth(), raw.replace("BTC", "ETH")) == (-1000, "Signature check failed")
    assert _code(_auth(1666), raw) == (-1000, "Signature check failed")
    assert _code(_auth(), raw.replace(SIGNER, USER)) == (-1000, "No agent found")
    assert _code(_auth(), raw + "&quantity=9")[0] == -1022
    assert _code(_auth(), raw.partition("&signature=")[0])[0] == -1102


def test_a_user_that_is_not_the_agents_is_refused():
    message = f"nonce={NONCE}&user={SIGNER}&signer={SIGNER}"
    raw = f"{message}&signature={sign_v3(message, KEY, 714)}"
    assert _code(_auth(), raw) == (-1000, "No agent found")


def test_blanks_may_be_signed_as_plus_and_sent_as_percent_20():
    message = f"text=a+b&nonce={NONCE}&signer={SIGNER}"
    raw = f"{message.replace('+', '%20')}&signature={sign_v3(message, KEY, 714)}"
    assert _verify(_auth(), raw) == "alice"


def test_a_nonce_works_once_and_only_inside_the_window():
    auth = _auth()
    assert _verify(auth, _signed(NONCE)) == "alice"
    assert _code(auth, _signed(NONCE)) == (-4225, "Nonce Duplicated")
    assert _code(auth, _signed(NONCE - WINDOW_US - 1)) == (-4225, "Nonce Expired")
    assert _code(auth, _signed(NONCE + WINDOW_US + 1)) == (-4225, "Nonce Expired")
    assert _verify(auth, _signed(NONCE - WINDOW_US)) == "alice"


def test_a_refused_signature_burns_no_nonce():
    auth = _auth()
    _code(auth, _signed(NONCE, chain_id=1))
    assert _verify(auth, _signed(NONCE)) == "alice"


def test_nonces_may_come_out_of_order_within_the_newest_hundred():
    window = NonceWindow()
    for nonce in range(1_001, 1_200, 2):
        window.use(nonce, 1_100, 1_000)
    window.use(1_002, 1_100, 1_000)
    with pytest.raises(VenueError) as refusal:
        window.use(1_000, 1_100, 1_000)
    assert (refusal.value.code, refusal.value.msg) == (-4225, "Nonce Expired")


def test_the_signature_must_stand_last():
    assert split_signature(b"a=1&signature=xy") == (b"a=1", "xy")
    assert split_signature(b"signature=xy") == (b"", "xy")
    assert split_signature(b"a=1&signature=xy&b=2") is None
    assert split_signature(b"a=1&nosignature=xy") is None


def _v1(text: str, *, secret: str = SECRET) -> str:
    return f"{text}&signature={hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()}"


def _v1_code(raw: str, *, api_key: str | None = API_KEY, now_ms: int = 1591702613943) -> int:
    with pytest.raises(VenueError) as refusal:
        _auth().verify_v1(raw.encode(), dict(parse_qsl(raw)), api_key, now_ms)
    return refusal.value.code


def test_the_published_hmac_vector_verifies_in_any_case():
    text = (
        "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC"
        "&recvWindow=5000&timestamp=1591702613943"
    )
    raw = f"{text}&signature=3C661234138461FCC7A7D8746C6558C9842D4E10870D2ECBEDF7777CAD694AF9"
    assert _auth().verify_v1(raw.encode(), dict(parse_qsl(raw)), API_KEY, 1591702613943) == "alice"


def test_v1_refusals_have_their_codes():
    text = "symbol=BTCUSDT&timestamp=1591702613943"
    assert _v1_code(_v1(text), api_key=None) == -2014
    assert _v1_code(_v1(text), api_key="x" * 64) == -2015
    assert _v1_code(_v1(text, secret="wrong")) == -1022
    assert _v1_code(text) == -1102
    assert _v1_code(_v1(text), now_ms=1591702613943 + 5_001) == -1021
    assert _v1_code(_v1(text), now_ms=1591702613943 - 1_000) == -1021
    assert _v1_code(_v1(f"{text}&recvWindow=60001")) == -1130


def test_credentials_hide_their_secrets_and_must_fit_together():
    credentials = complete(AccountSpec("alice", private_key=KEY), _entropy)
    assert credentials.signer == SIGNER
    assert KEY[2:] not in repr(credentials)
    assert _entropy(32) not in repr(credentials)
    with pytest.raises(AccountSpecError, match="signer is not the address of private_key") as error:
        complete(AccountSpec("alice", signer=USER, private_key=KEY), _entropy)
    assert KEY[2:] not in str(error.value)
