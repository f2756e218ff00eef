"""The account: settings, balances, positions, fees, and the key of its stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from app.domain.errors import OutcomeUnknown, RefusedByExchange, Unavailable
from app.domain.reports import (
    AccountReport,
    AgentReport,
    BalanceReport,
    CommissionRate,
    LeverageBracket,
    LeverageSetting,
    MarginType,
    PositionReport,
    Refused,
)
from app.integrations.aster import endpoints, parse, wire
from app.integrations.aster.errors import is_no_op
from app.integrations.aster.exchange_clock import datetime_from_ms
from app.integrations.aster.forms import form
from app.integrations.aster.gateway import Gateway, Mutation, answer_of
from app.integrations.aster.priorities import Priority

_T = TypeVar("_T")
_decode_leverage = msgspec.json.Decoder(wire.Leverage).decode
_decode_position_mode = msgspec.json.Decoder(wire.PositionMode).decode
_decode_asset_mode = msgspec.json.Decoder(wire.AssetMode).decode
_decode_balances = msgspec.json.Decoder(list[wire.Balance]).decode
_decode_positions = msgspec.json.Decoder(list[wire.PositionRisk]).decode
_decode_account = msgspec.json.Decoder(wire.Account).decode
_decode_brackets = msgspec.json.Decoder(list[wire.SymbolBrackets]).decode
_decode_one_bracket = msgspec.json.Decoder(wire.SymbolBrackets).decode
_decode_commission = msgspec.json.Decoder(wire.CommissionRate).decode
_decode_agents = msgspec.json.Decoder(list[wire.Agent]).decode
_decode_listen_key = msgspec.json.Decoder(wire.ListenKey).decode


def _symbol_form(symbol: str | None) -> str:
    return form([("symbol", symbol)]) if symbol is not None else ""


def _balances(body: bytes) -> list[BalanceReport]:
    return [parse.balance_report(row) for row in _decode_balances(body)]


def _positions(body: bytes) -> list[PositionReport]:
    return [parse.position_report(row) for row in _decode_positions(body)]


def _account(body: bytes) -> AccountReport:
    return parse.account_report(_decode_account(body))


def _brackets(body: bytes) -> dict[str, tuple[LeverageBracket, ...]]:
    """A list, or one bare object when a symbol was named (fact sheet, section 4)."""
    rows = _decode_brackets(body) if body.lstrip()[:1] == b"[" else [_decode_one_bracket(body)]
    return {row.symbol: parse.brackets(row) for row in rows}


def _commission(body: bytes) -> CommissionRate:
    row = _decode_commission(body)
    return CommissionRate(
        symbol=row.symbol,
        maker=parse.finite(row.maker_commission_rate),
        taker=parse.finite(row.taker_commission_rate),
    )


def _agents(body: bytes) -> list[AgentReport]:
    return [
        AgentReport(
            address=row.agent_address,
            expires_at=datetime_from_ms(row.expired),
            can_trade=row.can_perp_trade,
            can_withdraw=row.can_withdraw,
        )
        for row in _decode_agents(body)
    ]


def _read_setting(outcome: Mutation, decode: Callable[[bytes], _T]) -> _T:
    """The decoded answer of a setting. Raises as :func:`answer_of` does."""
    answer = answer_of(outcome)
    try:
        return decode(answer.body)
    except ValueError as error:
        raise OutcomeUnknown(f"the exchange's answer can't be read ({type(error).__name__})", http_status=200) from None


class AccountCalls:
    """The part of :class:`~app.integrations.aster.client.AsterClient` that deals in the account.

    Reads raise as :meth:`~app.integrations.aster.gateway.Gateway.read` says; settings raise as
    :func:`~app.integrations.aster.gateway.answer_of` says.
    """

    _gateway: Gateway

    async def set_leverage(self, symbol: str, leverage: int) -> LeverageSetting:
        """Set the leverage of a symbol and return what the exchange then has (scenario Z6).

        Raises also ``OutcomeUnknown`` when the answer can't be read.
        """
        outcome = await self._gateway.mutate(
            endpoints.LEVERAGE,
            form([("symbol", symbol), ("leverage", str(leverage))]),
            priority=Priority.ENTRY,
        )
        row = _read_setting(outcome, _decode_leverage)
        return LeverageSetting(
            symbol=row.symbol, leverage=row.leverage, maximum_notional=parse.finite(row.max_notional_value)
        )

    async def set_margin_type(self, symbol: str, margin_type: MarginType) -> None:
        """Set the margin type of a symbol; "no need to change" is success (scenario L5)."""
        outcome = await self._gateway.mutate(
            endpoints.MARGIN_TYPE,
            form([("symbol", symbol), ("marginType", margin_type.value)]),
            priority=Priority.ENTRY,
        )
        if isinstance(outcome, Refused) and is_no_op(outcome.code):
            return
        answer_of(outcome)

    async def is_hedge_mode(self) -> bool:
        """Whether the account keeps LONG and SHORT positions apart (scenario L4)."""
        return await self._gateway.read(
            endpoints.POSITION_MODE, "", lambda body: _decode_position_mode(body).dual_side_position
        )

    async def is_multi_asset_mode(self) -> bool:
        """Whether several assets serve as margin (scenario L4)."""
        return await self._gateway.read(
            endpoints.ASSET_MODE, "", lambda body: _decode_asset_mode(body).multi_assets_margin
        )

    async def balances(self, priority: Priority = Priority.RECONCILIATION) -> list[BalanceReport]:
        """Balances of all assets, empty ones included."""
        return await self._gateway.read(endpoints.BALANCE, "", _balances, priority=priority)

    async def positions(self, symbol: str | None = None, priority: Priority | None = None) -> list[PositionReport]:
        """Position rows, flat ones included: one ``BOTH`` row per symbol, or ``LONG`` and ``SHORT`` in hedge mode."""
        if priority is None:
            priority = Priority.QUERY if symbol is not None else Priority.RECONCILIATION
        return await self._gateway.read(endpoints.POSITIONS, _symbol_form(symbol), _positions, priority=priority)

    async def account(self, priority: Priority = Priority.QUERY) -> AccountReport:
        """The account's totals. Asks the older path where the renamed one does not exist (fact sheet, section 10.4)."""
        try:
            return await self._gateway.read(endpoints.ACCOUNT, "", _account, priority=priority)
        except (Unavailable, RefusedByExchange) as error:
            if error.http_status != 404:
                raise
        return await self._gateway.read(endpoints.ACCOUNT_BEFORE_RENAME, "", _account, priority=priority)

    async def leverage_brackets(self, symbol: str | None = None) -> dict[str, tuple[LeverageBracket, ...]]:
        """Leverage tiers by symbol, each from the smallest notional up."""
        return await self._gateway.read(endpoints.BRACKETS, _symbol_form(symbol), _brackets)

    async def commission_rate(self, symbol: str, priority: Priority = Priority.QUERY) -> CommissionRate:
        """Our fees on a symbol; they differ by account and change."""
        return await self._gateway.read(endpoints.COMMISSION, _symbol_form(symbol), _commission, priority=priority)

    async def agents(self) -> list[AgentReport]:
        """Who may sign for the account. v3 only."""
        return await self._gateway.read(endpoints.AGENTS, "", _agents)

    async def open_listen_key(self) -> str:
        """The account's listen key, new or the one that is already active, good for 60 more minutes. A secret."""
        outcome = await self._gateway.mutate(endpoints.LISTEN_KEY_OPEN, "", priority=Priority.RECOVERY)
        return _read_setting(outcome, _decode_listen_key).listen_key

    async def renew_listen_key(self) -> None:
        """Keep the listen key for 60 more minutes. A key that is gone raises ``RefusedByExchange`` with code -1125."""
        answer_of(await self._gateway.mutate(endpoints.LISTEN_KEY_RENEW, "", priority=Priority.RECOVERY))

    async def delete_listen_key(self) -> None:
        """End the listen key for every program of the account. Not part of a shutdown (scenario W7)."""
        answer_of(await self._gateway.mutate(endpoints.LISTEN_KEY_DELETE, "", priority=Priority.QUERY))
