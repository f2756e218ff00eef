"""Authentication of requests: v3 (EIP-712 over the raw bytes) and v1 (HMAC), asterdex-facts.md sections 2, 3, 12."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush

from coincurve import PublicKey

from aster_sim.core import errors
from aster_sim.credentials import AccountCredentials, keccak

NONCES_KEPT = 100
DEFAULT_RECV_WINDOW_MS = 5_000
MAX_RECV_WINDOW_MS = 60_000
CLOCK_AHEAD_MS = 1_000
NEVER_MS = 4_102_444_800_000
"""The year 2100: agents here do not expire by themselves."""

_DOMAIN_TYPE = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_MESSAGE_TYPE = keccak(b"Message(string msg)")


class NonceWindow:
    """The last 100 nonces of one signer: reuse is refused, and so is anything older than the oldest kept."""

    __slots__ = ("_heap", "_seen")

    def __init__(self) -> None:
        self._heap: list[int] = []
        self._seen: set[int] = set()

    def use(self, nonce: int, now_us: int, window_us: int) -> None:
        """Burn a nonce (microseconds since 1970).  Raises -4225 when it is used, outside the window or too old."""
        if nonce in self._seen:
            raise errors.NONCE_DUPLICATED.error()
        if abs(nonce - now_us) > window_us:
            raise errors.NONCE_EXPIRED.error()
        if len(self._heap) >= NONCES_KEPT:
            if nonce < self._heap[0]:
                raise errors.NONCE_EXPIRED.error()
            self._seen.discard(heappop(self._heap))
        heappush(self._heap, nonce)
        self._seen.add(nonce)

    def guard(self, nonce: int, now_us: int, window_us: int) -> None:
        """Let a request undo the one that used a nonce; one that has not come yet never will be taken."""
        if nonce not in self._seen and abs(nonce - now_us) <= window_us:
            self.use(nonce, now_us, window_us)

    def restore(self, nonces: Iterable[int]) -> None:
        """Remember nonces that were used before a restart."""
        newest = sorted(self._seen.union(nonces))[-NONCES_KEPT:]
        self._heap, self._seen = newest, set(newest)


@dataclass(slots=True)
class Agent:
    """A signer that may act for a user's account."""

    account: str
    user: str
    signer: str
    nonces: NonceWindow = field(default_factory=NonceWindow)
    expires_ms: int = NEVER_MS


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A v1 key pair of an account."""

    account: str
    secret: bytes = field(repr=False)


def split_signature(raw: bytes) -> tuple[bytes, str] | None:
    """(signed bytes, signature) of a query or form string; None without a signature, which must stand last."""
    at = raw.rfind(b"signature=")
    if at < 0 or (at > 0 and raw[at - 1 : at] != b"&"):
        return None
    signature = raw[at + len(b"signature=") :]
    if b"&" in signature:
        return None
    return raw[: max(0, at - 1)], signature.decode("latin-1")


class Authenticator:
    """Knows agents and API keys, and verifies requests against them."""

    def __init__(self, chain_id: int, nonce_window_s: float) -> None:
        self._agents: dict[str, Agent] = {}
        self._keys: dict[str, ApiKey] = {}
        self._used: dict[str, list[int]] = {}
        self._restored: dict[str, list[int]] = {}
        self._window_us = int(nonce_window_s * 1_000_000)
        self._prefix = b"\x19\x01" + keccak(
            _DOMAIN_TYPE + keccak(b"AsterSignTransaction") + keccak(b"1") + chain_id.to_bytes(32, "big") + bytes(32)
        )

    def register(self, credentials: AccountCredentials) -> None:
        """Let an account's credentials in.  Raises ValueError when another account already has one of them."""
        signer = credentials.signer.lower()
        if signer in self._agents or credentials.api_key in self._keys:
            raise ValueError(f"account {credentials.name}: its signer or API key belongs to another account")
        if signer:
            agent = self._agents[signer] = Agent(credentials.name, credentials.user.lower(), signer)
            agent.nonces.restore(self._restored.get(signer, ()))
        self._keys[credentials.api_key] = ApiKey(credentials.name, credentials.api_secret.encode())

    def agents_of(self, account: str) -> list[Agent]:
        """The agents of an account."""
        return [agent for agent in self._agents.values() if agent.account == account]

    def claimed_account(self, params: Mapping[str, str], api_key: str | None) -> str:
        """Whose request this claims to be, unverified; empty for a stranger's."""
        if api_key is not None:
            key = self._keys.get(api_key)
            return key.account if key else ""
        agent = self._agents.get(params.get("signer", "").lower())
        return agent.account if agent else ""

    def digest(self, message: bytes) -> bytes:
        """The EIP-712 digest of ``Message(string msg)``."""
        return keccak(self._prefix + keccak(_MESSAGE_TYPE + keccak(message)))

    def recover(self, message: bytes, signature: str) -> str | None:
        """The lower-case address that signed, None for a malformed signature."""
        try:
            raw = bytes.fromhex(signature.removeprefix("0x"))
        except ValueError:
            return None
        if len(raw) != 65:
            return None
        recovery = raw[64] - 27 if raw[64] >= 27 else raw[64]
        if recovery not in {0, 1}:
            return None
        try:
            key = PublicKey.from_signature_and_message(raw[:64] + bytes([recovery]), self.digest(message), hasher=None)
        except (ValueError, TypeError):
            return None
        return "0x" + keccak(key.format(compressed=False)[1:])[-20:].hex()

    def verify_v3(
        self,
        raw: bytes,
        params: Mapping[str, str],
        now_us: int,
        *,
        guarded: bool = False,
        lasting: bool = True,
    ) -> str:
        """The account of a v3 request; burns its nonce.

        Checked in the order of section 12: parameters, agent, signature over the raw bytes, nonce. A ``guarded``
        request comes with the nonce of an earlier one. A ``lasting`` nonce is to survive a restart: without it,
        the request could be executed a second time.
        """
        for name in ("nonce", "signer", "signature"):
            if not params.get(name):
                raise errors.MISSING.error(name=name)
        nonce_text = params["nonce"]
        if not (nonce_text.isascii() and nonce_text.isdigit()) or len(nonce_text) > 19:
            raise errors.BAD_PARAMETER.error(name="nonce")
        agent = self._agents.get(params["signer"].lower())
        if agent is None:
            raise errors.NO_AGENT.error()
        user = params.get("user")
        if user is not None and user.lower() != agent.user:
            raise errors.NO_AGENT.error()
        parts = split_signature(raw)
        if parts is None:
            raise errors.BAD_SIGNATURE.error()
        if not self._signed_by(agent.signer, *parts):
            raise errors.SIGNATURE_CHECK_FAILED.error()
        nonce = int(nonce_text)
        if guarded:
            agent.nonces.guard(nonce, now_us, self._window_us)
        else:
            agent.nonces.use(nonce, now_us, self._window_us)
        if lasting:
            self._used.setdefault(agent.signer, []).append(nonce)
        return agent.account

    def take_used(self) -> dict[str, list[int]]:
        """The lasting nonces by signer that were used since the last call."""
        taken, self._used = self._used, {}
        return taken

    def put_back(self, nonces: Mapping[str, list[int]]) -> None:
        """Take nonces back that could not be written down."""
        for signer, rows in nonces.items():
            self._used[signer] = rows + self._used.get(signer, [])

    def restore(self, nonces: Mapping[str, list[int]]) -> None:
        """Remember nonces that were used before a restart, also those of agents that register later."""
        self._restored.update(nonces)
        for signer, rows in nonces.items():
            if signer in self._agents:
                self._agents[signer].nonces.restore(rows)

    def _signed_by(self, signer: str, message: bytes, signature: str) -> bool:
        if self.recover(message, signature) == signer:
            return True
        # A blank may be written + or %20; clients and proxies disagree about which was signed.
        respelled = [message.replace(b"+", b"%20"), message.replace(b"%20", b"+")]
        return any(text != message and self.recover(text, signature) == signer for text in respelled)

    def verify_key(self, api_key: str | None) -> ApiKey:
        """The key of a v1 request that needs no signature.  Raises -2014, -2015."""
        if not api_key:
            raise errors.BAD_API_KEY_FORMAT.error()
        key = self._keys.get(api_key)
        if key is None:
            raise errors.BAD_API_KEY.error()
        return key

    def verify_v1(self, raw: bytes, params: Mapping[str, str], api_key: str | None, now_ms: int) -> str:
        """The account of a signed v1 request; ``raw`` is query and body joined without a separator.

        Raises -2014, -2015, -1102, -1021 (timestamp), -1022 (signature).
        """
        key = self.verify_key(api_key)
        for name in ("timestamp", "signature"):
            if not params.get(name):
                raise errors.MISSING.error(name=name)
        _check_timestamp(params, now_ms)
        parts = split_signature(raw)
        if parts is None:
            raise errors.BAD_SIGNATURE.error()
        expected = hmac.new(key.secret, parts[0], hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected.encode(), parts[1].lower().encode()):
            raise errors.BAD_SIGNATURE.error()
        return key.account


def _check_timestamp(params: Mapping[str, str], now_ms: int) -> None:
    timestamp, window = params["timestamp"], params.get("recvWindow", str(DEFAULT_RECV_WINDOW_MS))
    for name, text in (("timestamp", timestamp), ("recvWindow", window)):
        if not (text.isascii() and text.isdigit()) or len(text) > 19:
            raise errors.BAD_PARAMETER.error(name=name)
    if int(window) > MAX_RECV_WINDOW_MS:
        raise errors.BAD_PARAMETER.error(name="recvWindow")
    sent = int(timestamp)
    if not (sent < now_ms + CLOCK_AHEAD_MS and now_ms - sent <= int(window)):
        raise errors.TIMESTAMP.error()
