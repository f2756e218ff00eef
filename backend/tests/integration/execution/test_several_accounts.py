"""Accounts of one process are isolated from each other; only the address that they share is shared."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from arena import BTC, ETH, buy, decide, sell, until, until_true
from rich.console import Console
from several import all_ready, house

from app.bootstrap import running
from app.cli.render import closes
from app.core.configuration import load_settings
from app.domain.errors import AuthRefused, ConfigurationError, DecisionRefused, ExchangeError
from support.faces import serving

REVOKED = {"type": "error", "status": 400, "code": -1000, "msg": "No agent found"}


def requests_of(ledger: Any, account: str) -> list[Any]:
    return [row for row in ledger["requests"] if row["account"] == account]


async def test_what_troubles_one_account_leaves_the_others_trading(tmp_path: Path) -> None:
    """L4, L6: one agent revoked, one account in hedge mode, one halted; all in one process."""
    names = ["revoked", "hedged", "halted", "plain"]
    async with house(tmp_path, names) as home:
        await home.levers.call("POST", "/modes", {"account": "hedged", "hedge": True})
        await all_ready(home, names)
        await home.application.service("halted").halt("the operator wants a look")
        await home.levers.fault(REVOKED, count=0, account="revoked")
        await until(lambda: home.application.service("revoked").halted is not None)
        for name in ("hedged", "plain"):
            assert (await home.trade(name, **buy())).status == "protected"
            assert (await home.trade(name, **sell())).status == "protected"
        for name in ("halted", "revoked"):
            refused = await home.trade(name, **buy())
            assert (refused.status, refused.error.code if refused.error else None) == ("rejected", "halted")
        assert "halted" in await home.alerts("revoked")
        assert await home.alerts("plain") == await home.alerts("hedged") == []
        accounts = (await home.levers.ledger())["accounts"]
        assert {row["positionSide"] for row in accounts["hedged"]["positions"]} == {"LONG", "SHORT"}
        assert {row["positionSide"] for row in accounts["plain"]["positions"]} == {"BOTH"}


async def test_a_refused_key_halts_entries_makes_no_storm_and_heals_with_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L6: with a position open; asking again is rare, and once the key is good an operator resumes."""
    from app.integrations.aster.gateway import Gateway

    refused: list[str] = []
    send = Gateway._read_once

    async def counting(self: Gateway, endpoint: Any, *rest: Any) -> Any:
        try:
            return await send(self, endpoint, *rest)
        except AuthRefused as error:
            if error.code is not None:
                refused.append(endpoint.name)
            raise

    monkeypatch.setattr(Gateway, "_read_once", counting)
    async with house(tmp_path, ["one"]) as home:
        await all_ready(home, ["one"])
        service = home.application.service("one")
        assert (await home.trade("one", **buy())).status == "protected"
        await home.levers.fault(REVOKED, count=0, account="one")
        await until(lambda: service.halted is not None)
        before = len(refused)
        for _ in range(20):
            with pytest.raises(ExchangeError):
                await service.reconcile()  # an operator wants to know, again and again
        assert len(refused) - before <= 6
        await until(lambda: not service.readiness().is_ready)
        await home.levers.heal()
        await until(lambda: service.readiness().is_ready)
        assert service.halted is not None
        await service.resume()
        assert (await home.trade("one", **sell())).status == "protected"


async def test_a_ban_is_the_addresss_and_stops_all_accounts(tmp_path: Path) -> None:
    """L1: one account's request is answered by a ban, and none of them sends until it ends."""
    async with house(tmp_path, ["a", "b"]) as home:
        await all_ready(home, ["a", "b"])
        await home.levers.fault({"type": "ban", "seconds": 3}, account="a")
        await until(lambda: not home.is_ready("a"))
        assert not home.is_ready("b")
        with pytest.raises(DecisionRefused, match="silence"):
            await decide(home.application.service("b"), buy(), account_id="b")
        await all_ready(home, ["a", "b"])
        assert (await home.trade("b", **buy())).status == "protected"
        codes = [*await home.alerts("a"), *await home.alerts("b")]
        assert codes.count("banned") == 1


async def test_positions_are_closed_on_the_account_that_is_asked_and_on_no_other(tmp_path: Path) -> None:
    async with house(tmp_path, ["a", "b"]) as home:
        await all_ready(home, ["a", "b"])
        for name in ("a", "b"):
            assert (await home.trade(name, **buy())).status == "protected"
        await home.application.service("a").close_all()

        async def held(account: str) -> int:
            return len((await home.levers.ledger())["accounts"][account]["positions"])

        assert (await held("a"), await held("b")) == (0, 1)


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [("/v1/positions/close", None, "items"), ("/v1/halt", {"reason": "news", "flatten": True}, "closed")],
)
async def test_without_an_account_every_account_is_closed_and_told(
    tmp_path: Path, path: str, body: dict[str, Any] | None, key: str
) -> None:
    async with house(tmp_path, ["a", "b"]) as home, serving(home.application) as face:
        await all_ready(home, ["a", "b"])
        for name in ("a", "b"):
            assert (await home.trade(name, **buy())).status == "protected"
        told = (await face.post(path, body)).json[key]
        assert [(one["account_id"], one["status"]) for one in told] == [("a", "closed"), ("b", "closed")]
        accounts = (await home.levers.ledger())["accounts"]
        assert [accounts[name]["positions"] for name in ("a", "b")] == [[], []]
        listed = Console(file=io.StringIO(), width=100)
        listed.print(closes(told))
        assert isinstance(listed.file, io.StringIO)
        assert listed.file.getvalue().split()[:3] == ["Account", "Asset", "Status"]


async def test_hedge_mode_is_traded_both_ways_and_closed(tmp_path: Path) -> None:
    """L4: by position side, without ever changing the mode."""
    async with house(tmp_path, ["one"]) as home:
        await home.levers.call("POST", "/modes", {"account": "one", "hedge": True})
        await all_ready(home, ["one"])
        service = home.application.service("one")
        assert (await home.trade("one", **buy())).status == "protected"
        assert (await home.trade("one", **sell(ETH))).status == "protected"
        await home.levers.price(BTC, "93900")  # the long's stop

        async def is_stopped() -> bool:
            rows = (await home.levers.ledger())["accounts"]["one"]["positions"]
            return [row["symbol"] for row in rows] == [ETH]

        await until_true(is_stopped)
        result = await service.close_position(ETH)
        assert result.status == "closed"
        state = (await home.levers.call("GET", "/state"))["accounts"]["one"]
        assert state["hedge_mode"] is True
        assert state["open_orders"] == 0


async def test_a_hedge_mode_whose_news_was_lost_is_read_from_the_positions(tmp_path: Path) -> None:
    """L4: the rows of LONG and SHORT tell."""
    async with house(tmp_path, ["one"]) as home:
        await all_ready(home, ["one"])
        await home.levers.fault({"type": "drop_events"}, count=0, account="one")
        await home.levers.call("POST", "/modes", {"account": "one", "hedge": True})
        await home.application.service("one").reconcile()
        assert (await home.trade("one", **buy())).status == "protected"


async def test_isolated_margin_in_multi_assets_mode_is_refused_until_it_is_mended(tmp_path: Path) -> None:
    """L4: what can't be done is refused with the fix, and taken up when the fix is made; nothing is switched."""
    async with house(tmp_path, ["one"], 'margin_type = "ISOLATED"\n', {"multi_assets": True}) as home:
        service = home.application.service("one")
        await until(lambda: "multi-assets mode" in " ".join(service.readiness().reasons))
        with pytest.raises(DecisionRefused, match="unset TES_MARGIN_TYPE"):
            await decide(service, buy(), account_id="one")
        state = (await home.levers.call("GET", "/state"))["accounts"]["one"]
        assert state["multi_assets"] is True
        await home.levers.call("POST", "/modes", {"account": "one", "multi_assets": False})
        await all_ready(home, ["one"])
        assert (await home.trade("one", **buy())).status == "protected"


async def test_multi_assets_mode_with_cross_margin_is_traded(tmp_path: Path) -> None:
    """L4."""
    async with house(tmp_path, ["many"], modes={"multi_assets": True}) as home:
        await all_ready(home, ["many"])
        assert (await home.trade("many", **buy())).status == "protected"
        assert (await home.levers.call("GET", "/state"))["accounts"]["many"]["multi_assets"] is True


@pytest.mark.parametrize("shared", ["aster_user", "aster_signer"])
async def test_two_accounts_with_one_key_or_one_user_are_refused_at_the_start(tmp_path: Path, shared: str) -> None:
    """L3: they would collide in nonces, or undo each other's exits; the message names both and the fix."""
    keys = {name: {"aster_user": f"0x{name * 40}", "aster_signer": f"0x{name * 39}0"} for name in ("a", "b")}
    keys["b"][shared] = keys["a"][shared].upper().replace("X", "x")
    lines = []
    for name, own in keys.items():
        lines.append(f'[accounts.{name}]\naster_private_key = "0x{name * 64}"')
        lines += [f'{key} = "{value}"' for key, value in own.items()]
    file = tmp_path / "shared.toml"
    file.write_text("\n".join(lines))
    environment = {"TES_VENUE": "testnet", "TES_DATABASE_URL": f"sqlite:///{tmp_path / 'shared.db'}"}
    with pytest.raises(ConfigurationError, match=f"accounts.b.{shared} is that of account a: "):
        async with running(load_settings(environment, config=file)):
            pass
