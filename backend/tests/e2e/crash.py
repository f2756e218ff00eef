"""A crash run: the service and the venue as processes, killed at random moments under a running load of decisions.

After each kill everything is started again, and nobody lends a hand: the record and the venue's ledger must agree to
the last decimal by themselves. The seed decides what is decided and when is killed; real processes do the rest, so a
run with the same seed is alike, not the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from books import Books, Row, acted_twice, violations

from support.serving import LAUNCH, TOKEN, free_port

PRICES = {"BTCUSDT": 96_000.0, "ETHUSDT": 3_400.0, "SOLUSDT": 180.0, "BNBUSDT": 900.0, "XRPUSDT": 2.2}
RECOVERED_WITHIN_S = 60.0
"""Generous on purpose: the machine may be busy. What is usual is printed."""
_START_PATIENCE_S = 60.0
_LOOK_S = 0.05
_DISTANCE = 0.006
_STEP = 0.0015
_STEP_EVERY_S = 0.05
_PAUSE_S = (0.02, 0.35)
_LONGEST_LIFE_S = 2.0
_AGAIN = 0.2
_PAGE = 200
_EVENTS = 500
_TELLING_S = 6.0
"""A recovery that took so long is told with what it waited for."""
_NUMBERS = re.compile(r"\d[\w.]*")
_MOVING = "pending,entering,protecting,closing"


class CrashRunFailed(AssertionError):
    """The service did not recover; the message holds what is wrong, and the seed."""


@dataclass
class Program:
    """One ``tes`` command that is killed and started again with the same words."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    folder: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, if it does not run."""
        if self.process is not None and self.process.returncode is None:
            return
        environment = {"PATH": os.environ["PATH"], **self.environment}
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                LAUNCH,
                *self.arguments,
                cwd=self.folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def kill(self) -> None:
        """SIGKILL: no goodbye."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


@dataclass
class CrashRun:
    """One run; ``recoveries`` are the seconds from each start to record and ledger being equal."""

    http: aiohttp.ClientSession
    venue: Program
    service: Program
    url: str
    venue_url: str
    dice: random.Random
    seed: int
    say: Callable[[str], None]
    prices: dict[str, float] = field(default_factory=lambda: dict(PRICES))
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    recoveries: list[float] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    waited_for: Counter[str] = field(default_factory=Counter)
    """What was wrong while a recovery was waited for, and at how many looks."""
    last_seq: int = 0

    async def run(self, kills: int) -> None:
        """Kill so many times, and look after each.

        Raises:
            CrashRunFailed: something stayed wrong.
        """
        await self._start()
        await self._recovered()
        while self.killed.total() < kills:
            await self._load_until(self.dice.uniform(0, _LONGEST_LIFE_S))
            await self._kill(self.dice.choices(["service", "venue", "both"], [75, 15, 10])[0])
            while self.killed.total() < kills and self.dice.random() < _AGAIN:
                await self._start()
                await asyncio.sleep(self.dice.uniform(0, 1.5))
                await self._kill("service")  # while it is recovering
            started_at = time.monotonic()
            await self._start()
            self.waited_for.clear()
            self.recoveries.append(await self._recovered() - started_at)
            await self._replay()
            self.say(f"{self.killed.total()}/{kills} kills, recovered in {self.recoveries[-1]:.1f} s{self._why()}")
        await self._recovered()
        await self._told()

    def summary(self) -> str:
        """What happened, so that a green run can be judged too."""
        longest, usual = max(self.recoveries), statistics.median(self.recoveries)
        return (
            f"{self.killed.total()} kills {dict(self.killed)}, {len(self.sent)} decisions; time to recover: "
            f"median {usual:.1f} s, longest {longest:.1f} s; seed {self.seed}"
        )

    def _why(self) -> str:
        """What a recovery that took long waited for most."""
        if self.recoveries[-1] < _TELLING_S:
            return ""
        looks = self.waited_for.total()
        return "".join(f"; {count * 100 // looks} % {what}" for what, count in self.waited_for.most_common(3))

    # --- killing ----------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        await self.venue.start()
        await self.service.start()

    async def _kill(self, what: str) -> None:
        self.killed[what] += 1
        targets = {"service": [self.service], "venue": [self.venue], "both": [self.service, self.venue]}[what]
        await asyncio.gather(*(program.kill() for program in targets))

    # --- the load ---------------------------------------------------------------------------------------------------

    async def _load_until(self, seconds: float) -> None:
        """Decide on every asset and let prices walk, for so long; what was on its way then is unsure."""
        tasks = [asyncio.create_task(self._walk()), *(asyncio.create_task(self._trade(asset)) for asset in PRICES)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _walk(self) -> None:
        while True:
            asset = self.dice.choice(list(self.prices))
            self.prices[asset] *= 1 + self.dice.uniform(-_STEP, _STEP)
            await self._control("/prices", {asset: f"{self.prices[asset]:.5g}"})
            await asyncio.sleep(_STEP_EVERY_S)

    async def _trade(self, asset: str) -> None:
        while True:
            await asyncio.sleep(self.dice.uniform(*_PAUSE_S))
            decision = self._decision(asset)
            self.sent[decision["decision_id"]] = decision
            self.unsure.add(decision["decision_id"])
            await self._decide(decision)

    def _decision(self, asset: str) -> dict[str, Any]:
        wishes = (self._entry, self._close, self._resize, self._move)
        wish = self.dice.choices(wishes, [60, 15, 15, 10])[0]
        return {"decision_id": f"crash-{len(self.sent)}", "decisions": [{"asset": asset, **wish(asset)}]}

    def _entry(self, asset: str) -> dict[str, Any]:
        action = self.dice.choice(["buy", "sell"])
        above, below = self._around(asset)
        tp_price, sl_price = (above, below) if action == "buy" else (below, above)
        size = {"allocation_usd": self.dice.choice([200, 1000]), "leverage": self.dice.choice([2, 5])}
        return {"action": action, "tp_price": tp_price, "sl_price": sl_price, **size}

    def _close(self, asset: str) -> dict[str, Any]:
        return {"action": "close_position"}

    def _resize(self, asset: str) -> dict[str, Any]:
        kind = self.dice.choice(["increase", "decrease", "decrease"])
        adjustment = {"adjustment_type": kind, "adjustment_percentage": self.dice.choice([25, 50])}
        return {"action": "adjust_position", "position_adjustment": adjustment}

    def _move(self, asset: str) -> dict[str, Any]:
        above, below = self._around(asset)  # the wrong way round for half of them, and then refused
        return {"action": "adjust_orders", "order_adjustment": {"new_tp_price": above, "new_sl_price": below}}

    def _around(self, asset: str) -> tuple[str, str]:
        price = self.prices[asset]
        return f"{price * (1 + _DISTANCE):.5g}", f"{price * (1 - _DISTANCE):.5g}"

    async def _decide(self, decision: dict[str, Any]) -> None:
        """Send it; it is certain once the service has said that it has it."""
        with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
            async with self.http.post(f"{self.url}/v1/decisions?wait=0", json=decision) as response:
                if response.status in (200, 202):
                    self.unsure.discard(decision["decision_id"])

    async def _replay(self) -> None:
        """A sender that got no answer sends again; one entry may come of it in all."""
        for name in sorted(self.unsure):
            await self._decide(self.sent[name])

    async def _control(self, path: str, body: object) -> None:
        with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
            async with self.http.post(f"{self.venue_url}/sim{path}", json=body) as response:
                await response.read()

    # --- looking ----------------------------------------------------------------------------------------------------

    async def _recovered(self) -> float:
        """Wait until nothing is wrong any more; when the look began that found nothing (looking takes its time)."""
        wrong = ["it was never looked at"]
        looked_at = 0.0
        try:
            async with asyncio.timeout(RECOVERED_WITHIN_S):
                while wrong:
                    await asyncio.sleep(_LOOK_S)
                    looked_at = time.monotonic()
                    wrong = await self._look()
                    self.waited_for.update(_NUMBERS.sub("…", reason)[:160] for reason in wrong[:1])
        except TimeoutError:
            text = "\n".join(wrong[:20])
            raise CrashRunFailed(
                f"not recovered after {RECOVERED_WITHIN_S:g} s and {self.killed.total()} kills, seed {self.seed}; "
                f"logs are in {self.service.folder}\n{text}"
            ) from None
        return looked_at

    async def _look(self) -> list[str]:
        try:
            async with self.http.get(f"{self.url}/readyz") as response:
                if response.status != 200:
                    return [f"not ready: {(await response.json())['detail']}"]
            moving = (await self._get(f"{self.url}/v1/trades?status={_MOVING}"))["items"]
            if moving:
                return [f"trade {trade['id']} is {trade['status']}: {_orders(trade)}" for trade in moving]
            return violations(await self._books()) + await self._gaps()
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            return [f"not reached: {type(error).__name__}"]

    async def _told(self) -> None:
        """Every order that opened, added or took off answers for one decision, whose result says so.

        Raises:
            CrashRunFailed: one does not.
        """
        books, decisions = await self._books(), await self._all(f"{self.url}/v1/decisions?limit={_PAGE}")
        results: list[Row] = [row for decision in decisions for row in decision["results"]]
        wrong = acted_twice(books, results)
        if wrong:
            raise CrashRunFailed(f"seed {self.seed}; logs are in {self.service.folder}\n" + "\n".join(wrong[:20]))

    async def _books(self) -> Books:
        trades = await self._all(f"{self.url}/v1/trades?limit={_PAGE}")
        ledger = await self._get(f"{self.venue_url}/sim/ledger")
        return Books(trades, ledger["accounts"]["default"])

    async def _gaps(self) -> list[str]:
        """``seq`` goes on by one from where it was last seen."""
        while True:
            page = (await self._get(f"{self.url}/v1/events?after={self.last_seq}&limit={_EVENTS}"))["items"]
            got = [event["seq"] for event in page]
            if got != list(range(self.last_seq + 1, self.last_seq + 1 + len(got))):
                return [f"seq goes on with {got[:5]} after {self.last_seq}"]
            self.last_seq += len(got)
            if len(got) < _EVENTS:
                return []

    async def _all(self, url: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self._get(f"{url}{cursor}")
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            cursor = f"&cursor={page['next_cursor']}"

    async def _get(self, url: str) -> Any:
        async with self.http.get(url) as response:
            body = await response.read()
            if response.status != 200:
                raise aiohttp.ClientError(f"{response.status} from {url}")
            return json.loads(body)


def _orders(trade: dict[str, Any]) -> str:
    """Orders of a trade with their states, oldest first."""
    return " ".join(f"{order['client_order_id'].rpartition('.')[2]}:{order['status']}" for order in trade["orders"])


@asynccontextmanager
async def crash_run(folder: Path, seed: int, say: Callable[[str], None]) -> AsyncIterator[CrashRun]:
    """A venue with a memory and a service on it, not yet started; both are killed in the end."""
    venue_port, port = free_port(), free_port()
    venue_url, url = f"http://127.0.0.1:{venue_port}", f"http://127.0.0.1:{port}"
    accounts = folder / "accounts.json"
    dice = random.Random(seed)
    private_key = f"0x{dice.getrandbits(256):064x}"
    accounts.write_text(json.dumps([{"name": "default", "balance": "1000000", "private_key": private_key}]))
    arguments = ["sim", "--port", str(venue_port), "--seed", str(seed), "--prices", "manual", "--json"]
    arguments += ["--accounts", str(accounts), "--state", str(folder / "venue.journal"), "--rate-limits", "50"]
    from eth_account import Account

    address = Account.from_key(private_key).address
    environment = {
        "TES_VENUE": "testnet",
        "TES_DATABASE_URL": f"sqlite:///{folder / 'tes.db'}",
        "TES_API_TOKEN": TOKEN,
        "TES_PORT": str(port),
        "TES_ASTER_REST_URL": venue_url,
        "TES_ASTER_WS_URL": f"ws://127.0.0.1:{venue_port}",
        "TES_ASTER_USER": address,
        "TES_ASTER_SIGNER": address,
        "TES_ASTER_PRIVATE_KEY": private_key,
        "TES_RISK_COOLDOWN_SECONDS": "0",
        "TES_RECONCILE_INTERVAL_SECONDS": "2",
        "TES_LOG_FORMAT": "json",
    }
    venue = Program("venue", arguments, {}, folder)
    service = Program("service", ["serve"], environment, folder)
    patience = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=patience) as http:
        run = CrashRun(http, venue, service, url, venue_url, dice, seed, say)
        try:
            await venue.start()
            async with asyncio.timeout(_START_PATIENCE_S):
                while not await _is_priced(run):
                    await asyncio.sleep(_LOOK_S)
            yield run
        finally:
            await asyncio.gather(venue.kill(), service.kill())


async def _is_priced(run: CrashRun) -> bool:
    """Set the first prices as soon as the venue listens."""
    try:
        async with run.http.post(f"{run.venue_url}/sim/prices", json={k: str(v) for k, v in PRICES.items()}) as got:
            return got.status == 200
    except (aiohttp.ClientError, ConnectionError):
        return False
