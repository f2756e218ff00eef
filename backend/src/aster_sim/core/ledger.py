"""What happened at the venue, for assertions: every request on an order endpoint and its outcome."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

REQUESTS_KEPT = 500_000
SECRET_PARAMS = ("signature",)


class RequestRecord(msgspec.Struct):
    """One request: when it arrived, who sent it, what it asked, what came of it.

    ``outcome`` is ``executed``, ``refused``, ``fault`` (a fault answered, and nothing was executed) or
    ``pending``; ``delivered`` says whether the true answer was sent back; ``code`` is the refusal's.
    """

    sequence: int
    time_us: int
    account: str
    origin: str
    method: str
    path: str
    params: dict[str, str]
    nonce: str
    client_order_id: str
    outcome: str = "pending"
    delivered: bool = True
    code: int | None = None
    msg: str = ""
    order_ids: list[int] = []
    fault: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The record as the control API shows it."""
        return {name: getattr(self, name) for name in self.__struct_fields__}


class Ledger:
    """The latest requests on order endpoints, oldest first; ``forgotten`` counts those beyond the bound."""

    def __init__(self) -> None:
        self._requests: deque[RequestRecord] = deque(maxlen=REQUESTS_KEPT)
        self._sequence = 0

    @property
    def forgotten(self) -> int:
        """How many of the oldest records were dropped."""
        return self._sequence - len(self._requests)

    def open(
        self, time_us: int, account: str, origin: str, method: str, path: str, params: Mapping[str, str]
    ) -> RequestRecord:
        """Note a request before anything is done with it; signatures are left out."""
        self._sequence += 1
        shown = dict(params)
        for name in SECRET_PARAMS:
            shown.pop(name, None)
        record = RequestRecord(
            sequence=self._sequence,
            time_us=time_us,
            account=account,
            origin=origin,
            method=method,
            path=path,
            params=shown,
            nonce=params.get("nonce", ""),
            client_order_id=params.get("newClientOrderId", params.get("origClientOrderId", "")),
        )
        self._requests.append(record)
        return record

    def requests(self) -> list[dict[str, Any]]:
        """All records, oldest first."""
        return [record.as_dict() for record in self._requests]
