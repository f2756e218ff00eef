"""A record with values that this program does not know: what can be read is traded, and nobody owns without trading."""

from __future__ import annotations

from pathlib import Path

from arena import BTC, ETH, Arena, arena, buy, decide, resting_stops, sell, settled, until, until_true

from app.bootstrap import Application, running
from app.core.configuration import load_settings
from app.services.binding import VenueBinding
from support.faces import AUTHORIZED, TOKEN, serving
from support.foreign_rows import change_rows

SOLD = {"TES_API_TOKEN": TOKEN}


async def alerts(application: Application) -> list[tuple[str, str]]:
    """Severity and text of each alert about a row."""
    log = await application.events.after(0, 10_000)
    found = [one.event.data for one in log if one.event.data.get("code") == "record_unreadable"]
    return [(str(data["severity"]), str(data["message"])) for data in found]


async def test_a_start_reads_past_an_old_trade_that_it_can_not_read(stage: Arena) -> None:
    """It is alerted, and shown in the list beside the others; the rest trades."""
    async with stage.application() as application:
        service = application.service("default")
        old = (await decide(service, buy())).results[0].trade_id
        kept = (await decide(service, sell())).results[0].trade_id
        await service.close_position(BTC)
        await settled(application, old)
    change_rows(
        stage.environment["TES_DATABASE_URL"], f"UPDATE trades SET close_reason = 'evaporated' WHERE id = '{old}'"
    )
    async with stage.application(**SOLD) as application, serving(application) as face:
        told = await alerts(application)
        assert [severity for severity, _ in told] == ["warning"]
        assert f"trade {old} of {BTC}: column close_reason holds 'evaporated'" in told[0][1]
        listed = (await face.ask("GET", "/v1/trades", headers=AUTHORIZED)).json
        assert [one["id"] for one in listed["items"]] == [kept]
        assert [(one["kind"], one["id"], one["asset"]) for one in listed["unreadable"]] == [("trade", old, BTC)]
        alone = await face.ask("GET", f"/v1/trades/{old}", headers=AUTHORIZED)
        assert (alone.status, "evaporated" in alone.json["detail"]) == (500, True)
        assert (await decide(application.service("default"), buy())).results[0].status == "protected"


async def test_an_open_trade_that_can_not_be_read_keeps_its_exits(stage: Arena) -> None:
    """Nothing of it is touched, nothing is opened beside it, and the operator is told loudly."""
    async with stage.application() as application:
        odd = (await decide(application.service("default"), buy(), sell())).results[0].trade_id
    stops = await resting_stops(stage, BTC)
    change = f"UPDATE orders SET state = 'HOVERING' WHERE trade_id = '{odd}' AND role = 'entry'"
    change_rows(stage.environment["TES_DATABASE_URL"], change)
    async with stage.application() as application:
        service = application.service("default")
        ((severity, text),) = await alerts(application)
        assert (severity, str(odd) in text) == ("critical", True)
        await service.reconcile()
        assert len(await stage.levers.open_orders(BTC)) == 2
        assert await resting_stops(stage, BTC) == stops
        (refused,) = (await decide(service, buy())).results
        assert refused.error is not None
        assert refused.error.code == "position_exists"
        assert (await service.close_position(ETH)).status == "closed"


async def test_a_decision_of_which_a_trade_can_not_be_read_is_not_carried_out_again(stage: Arena) -> None:
    """What it has led to is not known, so it is not begun once more."""
    async with stage.application() as application:
        odd = (await decide(application.service("default"), buy(), decision_id="begun")).results[0].trade_id
    url = stage.environment["TES_DATABASE_URL"]
    change_rows(url, f"UPDATE trades SET side = 'SIDEWAYS' WHERE id = '{odd}'")
    change_rows(url, "UPDATE decisions SET status = 'pending', result = NULL, completed_at = NULL")
    await stage.levers.by_hand(symbol=BTC, side="SELL", quantity="0.010")
    async with stage.application() as application:
        await until_true(lambda: _is_told(application, "is not resumed"))
        placed = await stage.levers.requests("POST", "/order", symbol=BTC, side="BUY")
        assert [row["params"]["type"] for row in placed] == ["MARKET"]


async def _is_told(application: Application, words: str) -> bool:
    return any(words in text for _, text in await alerts(application))


async def test_a_halt_that_can_not_be_read_is_a_halt(stage: Arena) -> None:
    """Nobody knows what it said, but somebody wanted no entries."""
    async with stage.application() as application:
        await application.service("default").halt("storm")
    change_rows(stage.environment["TES_DATABASE_URL"], "UPDATE flags SET value = '{}' WHERE key = 'halt:default'")
    async with stage.application() as application:
        (refused,) = (await decide(application.service("default"), buy())).results
        assert refused.error is not None
        assert refused.error.code == "halted"


async def test_who_stood_by_and_can_not_begin_gives_the_accounts_back_and_says_why(tmp_path: Path) -> None:
    """C4: an owner that does not trade would keep everybody else from trading."""
    async with arena(tmp_path / "tes.db") as stage:
        settings = load_settings(stage.environment, config=None)
        url = settings.database_url
        async with running(settings, binding=VenueBinding(settings)) as first:
            assert first.services
            async with running(settings, binding=VenueBinding(settings)) as spare:
                assert not spare.services
                change_rows(url, """UPDATE flags SET value = '["odd"]' WHERE key = 'venue:default'""")
                await first.ownership.release()
                await until(lambda: "trading could not begin: TypeError" in str(spare.ownership.obstacle))
                assert await spare.ownership.until_given_up() == spare.ownership.obstacle
                change_rows(url, "DELETE FROM flags WHERE key = 'venue:default'")
                async with running(settings, binding=VenueBinding(settings)) as next_one:
                    await until(lambda: next_one.services)
