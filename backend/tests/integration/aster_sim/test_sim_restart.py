"""A venue that is killed forgets nothing that it said."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aster_sim.clock import SystemClock
from aster_sim.server import AccountSpec, VenueConfig, start_venue
from support.sim_client import SimClient

KEY = "0x" + "22" * 32
ADDRESS = "0x1563915e194D8CfBA1943570603F7606A3115508"
SPEC = AccountSpec("default", Decimal(10_000), user="0x" + "33" * 20, private_key=KEY, api_key="k", api_secret="s3cr3t")
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}
SERVE = """
import asyncio, sys
from decimal import Decimal
from pathlib import Path
from aster_sim.server import AccountSpec, VenueConfig, start_venue
async def main():
    spec = AccountSpec("default", Decimal(10000), user="0x" + "33" * 20, private_key="0x" + "22" * 32)
    running = await start_venue(VenueConfig(prices="manual", seed=1, accounts=[spec], state=Path(sys.argv[1])))
    print(running.port, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@dataclass
class _Remote:
    """What SimClient needs of a venue in another process."""

    port: int
    chain_id: int = 714

    def __post_init__(self) -> None:
        self.rest_url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}"
        self.control_url = f"{self.rest_url}/sim"
        self.accounts = [SimpleNamespace(name="default", user=SPEC.user, signer=ADDRESS, private_key=KEY)]
        self.venue = SimpleNamespace(state=SimpleNamespace(now_us=SystemClock().now_us))


async def _observe(client: SimClient) -> dict[str, Any]:
    account = (await client.control("GET", "ledger"))["accounts"]["default"]
    return {key: account[key] for key in ("wallet", "orders", "fills", "positions", "income")}


async def test_a_restart_restores_the_account_and_its_orders_still_work(tmp_path: Path):
    config = VenueConfig(prices="manual", seed=1, accounts=[SPEC], state=tmp_path / "venue.state")
    running = await start_venue(config)
    async with SimClient(running) as client:
        await client.set_prices(BTCUSDT="95000")
        await client.order(**MARKET)
        stop = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "stopPrice": "94000"}
        await client.order(**stop, closePosition="true", newClientOrderId="sl")
        before = await _observe(client)
    await running.stop()
    content = (tmp_path / "venue.state").read_text()
    assert KEY[2:] not in content
    assert "s3cr3t" not in content
    running = await start_venue(config)
    async with SimClient(running) as client:
        assert await _observe(client) == before
        assert (await client.control("GET", "state"))["prices"]["BTCUSDT"]["mark"] == "95000.0"
        stream = await client.user_stream()
        await client.set_prices(BTCUSDT="93000")
        assert (await stream.take(4))[3]["o"]["c"] == "sl"
        await stream.close()
    await running.stop()


@pytest.mark.long
async def test_sigkill_loses_nothing_that_a_client_was_told(tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    told: list[int] = []
    state = tmp_path / "venue.state"
    for round_number in range(3):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVE, str(state), stdout=asyncio.subprocess.PIPE, env=environment
        )
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        async with SimClient(_Remote(port)) as client:
            ledger = (await client.control("GET", "ledger"))["accounts"]["default"]
            known = {order["orderId"]: order["status"] for order in ledger["orders"]}
            assert all(known[order_id] == "FILLED" for order_id in told), json.dumps(known)
            assert len(ledger["fills"]) == len(known)
            for _ in range(5 + round_number):
                answer = await client.order(**MARKET, newOrderRespType="RESULT")
                assert answer.body["status"] == "FILLED"
                told.append(answer.body["orderId"])
            process.send_signal(signal.SIGKILL)
        await process.wait()
    assert len(set(told)) == 18


async def test_a_nonce_that_was_used_stays_used_over_a_restart_even_for_a_refused_order(tmp_path: Path):
    config = VenueConfig(prices="manual", seed=1, accounts=[SPEC], state=tmp_path / "state")
    first = await start_venue(config)
    async with SimClient(first) as client:
        taken, refused = client.nonce(), client.nonce()
        assert (await client.call("POST", "order", MARKET, nonce=taken)).status == 200
        assert (await client.call("POST", "order", {**MARKET, "quantity": "100"}, nonce=refused)).code == -2019
    await first.stop()
    second = await start_venue(config)
    async with SimClient(second) as client:
        for nonce in (taken, refused):
            assert (await client.call("POST", "order", MARKET, nonce=nonce)).code == -4225
        assert (await client.call("POST", "order", MARKET)).status == 200
    await second.stop()
