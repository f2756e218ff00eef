"""Signatures, and nothing else: pure functions of a key and a text (fact sheet, sections 2 and 3).

The v3 message type is fixed (``Message(string msg)``), so its domain separator and type hash are computed once per
signer; a signature is then three short keccaks and one secp256k1 call.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from coincurve import PrivateKey
from sha3 import keccak_256

from app.domain.errors import ConfigurationError

_DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_DOMAIN_NAME = b"AsterSignTransaction"
_DOMAIN_VERSION = b"1"
_VERIFYING_CONTRACT = bytes(32)
_MESSAGE_TYPE = b"Message(string msg)"
_PRIVATE_KEY = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")


def _keccak(data: bytes) -> bytes:
    digest: bytes = keccak_256(data).digest()
    return digest


def domain_separator(chain_id: int) -> bytes:
    """The EIP-712 domain separator of AsterDEX's trading calls on ``chain_id``."""
    return _keccak(
        _keccak(_DOMAIN_TYPE)
        + _keccak(_DOMAIN_NAME)
        + _keccak(_DOMAIN_VERSION)
        + chain_id.to_bytes(32, "big")
        + _VERIFYING_CONTRACT
    )


def _load_private_key(text: str) -> PrivateKey:
    if _PRIVATE_KEY.fullmatch(text) is None:
        raise ConfigurationError("the AsterDEX private key must be 64 hexadecimal digits, with or without 0x")
    try:
        return PrivateKey(bytes.fromhex(text.removeprefix("0x")))
    except ValueError:
        raise ConfigurationError("the AsterDEX private key is no valid secp256k1 key") from None


def _checksummed(address: bytes) -> str:
    """Spell an address with the mixed case of EIP-55."""
    letters = address.hex()
    digest = _keccak(letters.encode()).hex()
    return "0x" + "".join(
        letter.upper() if int(nibble, 16) >= 8 else letter for letter, nibble in zip(letters, digest, strict=False)
    )


def address_of(private_key: str) -> str:
    """The checksummed address that belongs to a hexadecimal private key.

    Raises:
        ConfigurationError: the text is no private key; the text itself is not repeated.
    """
    return _address(_load_private_key(private_key))


def _address(key: PrivateKey) -> str:
    return _checksummed(_keccak(key.public_key.format(compressed=False)[1:])[-20:])


class V3Signer:
    """Signs query strings and forms for ``/fapi/v3`` (EIP-712).

    Args:
        private_key: 32 bytes in hexadecimal, with or without ``0x``. Never shown again.
        chain_id: 1666 on mainnet, 714 on testnet and on the simulated venue.

    Raises:
        ConfigurationError: the key is malformed.
    """

    __slots__ = ("_key", "_prefix", "_type_hash", "address", "chain_id")

    def __init__(self, private_key: str, chain_id: int) -> None:
        self._key = _load_private_key(private_key)
        self._prefix = b"\x19\x01" + domain_separator(chain_id)
        self._type_hash = _keccak(_MESSAGE_TYPE)
        self.chain_id = chain_id
        self.address = _address(self._key)

    def digest(self, message: str) -> bytes:
        """The 32 bytes that are signed for ``message``."""
        message_hash = keccak_256(message.encode()).digest()
        return _keccak(self._prefix + keccak_256(self._type_hash + message_hash).digest())

    def sign(self, message: str) -> str:
        """``0x`` and r, s, v in hexadecimal, v being 1b or 1c; ``message`` exactly as transmitted."""
        signature = self._key.sign_recoverable(self.digest(message), hasher=None)
        return f"0x{signature[:64].hex()}{signature[64] + 27:02x}"

    def __repr__(self) -> str:
        return f"V3Signer(address={self.address!r}, chain_id={self.chain_id})"


class V1Signer:
    """Signs query strings and forms for ``/fapi/v1`` (HMAC-SHA256, hexadecimal)."""

    __slots__ = ("_keyed",)

    def __init__(self, api_secret: str) -> None:
        if not api_secret:
            raise ConfigurationError("the AsterDEX API secret is empty")
        self._keyed = hmac.new(api_secret.encode(), digestmod=hashlib.sha256)

    def sign(self, message: str) -> str:
        """The signature of ``message`` exactly as transmitted (query followed by body)."""
        keyed = self._keyed.copy()
        keyed.update(message.encode())
        return keyed.hexdigest()

    def __repr__(self) -> str:
        return "V1Signer()"
