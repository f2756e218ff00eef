"""What a seed makes: a whole world as a value, which can be written down, reduced and performed again.

Each seed takes part of what can go wrong and leaves the rest away (swarm testing): with everything in every world, what
is rare would never be seen beside what is loud. ``EMPHASIS`` steers the draws towards what coverage found to be rare.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from aster_sim.clock import seeded
from proof.foreign import ForeignOrders
from proof.happenings import Happening
from proof.in_parts import InParts
from proof.late_lists import LateLists
from proof.moving_market import MovingMarket, algo_orders_maximum
from proof.races import Races
from proof.scenes import Scenes

ASSETS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT")
DEFAULT = "default"
_ACTIONS = ("buy", "sell", "close_position", "hold", "adjust_position", "adjust_orders")


@dataclass(frozen=True, slots=True)
class World:
    """Everything that decides a run."""

    seed: int
    accounts: tuple[str, ...]
    assets: tuple[str, ...]
    schemes: Mapping[str, str]
    hedged: tuple[str, ...]
    settings: Mapping[str, str]
    balance: int
    nonce_window_s: float
    depth: str
    volatility: float
    drift: float
    skew_s: float
    latency_s: float
    jitter: float
    unrest: float
    storm_s: float
    """When everything heals."""
    ending: str
    """``hold`` or ``close``: what the engine does with what is open after the storm."""
    happenings: tuple[Happening, ...]
    stands_by: bool = False
    """Whether a second process stands by."""
    rules: tuple[str, ...] = ()
    """Which disputed rules of the exchange hold."""
    market_maximum_usd: int = 0
    """How much one market order may be worth at the start prices; 0 is what the exchange's catalogue says."""
    algo_orders_maximum: int = 0
    """How many conditional orders may rest on a symbol; 0 is what the exchange's catalogue says."""

    def with_happenings(self, happenings: tuple[Happening, ...]) -> World:
        """The same world in which other things happen."""
        return replace(self, happenings=happenings)

    def as_json(self) -> str:
        """Written down."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> World:
        """Read again. Worlds that were written down before there were such rules had another one for -2022."""
        raw = {"rules": ("only_closing_orders_cover",), **raw}
        happenings = tuple(Happening(**one) for one in raw["happenings"])
        lists = {name: tuple(raw[name]) for name in ("accounts", "assets", "hedged", "rules")}
        return cls(**{**raw, **lists, "happenings": happenings})


EMPHASIS: Mapping[str, float] = {
    "weather": 3.0,
    "crash": 3.0,
    "price": 5.0,
    "human_trade": 1.2,
    "human_close": 1.2,
    "human_cancel": 1.2,
    "close": 1.2,
    "frames": 2.0,
    "key_dies": 0.7,
    "cut": 1.0,
    "outage": 0.8,
    "ban": 0.5,
    "disk": 1.2,
    "host_clock": 0.6,
    "venue_clock": 0.6,
    "halt": 0.5,
    "stop": 0.6,
    "human_flip": 0.6,
    "human_modes": 0.3,
    "funding": 0.2,
    "depth": 0.5,
    "reconcile": 0.4,
    "history": 0.5,
}
"""How often each kind of happening is drawn, beside decisions."""


def firewalls(dice: random.Random, storm_s: float) -> list[Happening]:
    """Now and then the firewall before the exchange answers for a while (L8); with dice of their own."""
    if dice.random() >= 0.08:
        return []
    return [Happening(dice.uniform(1.0, storm_s * 0.8), "firewall", {"seconds": dice.choice((0.5, 3.0, 12.0))})]


def make(seed: int) -> World:
    """The world of a seed."""
    return _Maker(seeded(seed, "world"), seed).make()


class _Maker:
    def __init__(self, dice: random.Random, seed: int) -> None:
        self._dice = dice
        self._seed = seed
        self.accounts: tuple[str, ...] = (DEFAULT,) if dice.random() < 0.85 else (DEFAULT, "second")
        self.assets = tuple(sorted(dice.sample(ASSETS, dice.choice((1, 1, 2, 2, 3)))))
        self._storm_s = dice.choice((20.0, 30.0, 45.0, 70.0, 110.0))
        self._numbers = 0

    def make(self) -> World:
        """Draw everything."""
        dice = self._dice
        kinds = {kind: weight for kind, weight in EMPHASIS.items() if dice.random() < 0.5}
        if dice.random() < 0.75:
            kinds["crash"] = EMPHASIS["crash"]
        happenings = [self._decide(dice.uniform(0.0, 2.0))]
        decisions = dice.choice((2, 4, 6, 9, 12))
        happenings += [self._decide(dice.uniform(0.0, self._storm_s)) for _ in range(decisions)]
        kinds.setdefault("price", EMPHASIS["price"])
        if kinds:
            names, weights = list(kinds), list(kinds.values())
            for kind in dice.choices(names, weights, k=dice.choice((4, 8, 12, 18, 25))):
                maker: Callable[[float], Happening] = getattr(self, f"_{kind}")
                happenings.append(maker(dice.uniform(0.0, self._storm_s * 0.95)))
        window_s = dice.choice((1.5, 3.0, 5.0, 10.0))
        scenes = Scenes(seeded(self._seed, "scenes"), self.accounts, self.assets, self._storm_s)
        happenings += scenes.draw()
        window_s = scenes.window_s or window_s
        foreign = ForeignOrders(seeded(self._seed, "foreign orders"), self.accounts, self.assets, self._storm_s)
        happenings += foreign.draw()
        races = Races(seeded(self._seed, "standby"), self.accounts, self.assets, self._storm_s)
        happenings += races.draw()
        happenings += firewalls(seeded(self._seed, "firewall"), self._storm_s)
        happenings += LateLists(seeded(self._seed, "late lists"), self.accounts, self.assets, self._storm_s).draw()
        moving = MovingMarket(seeded(self._seed, "moving market"), self.accounts, self.assets, self._storm_s)
        happenings += moving.draw()
        market_maximum_usd = seeded(self._seed, "market maximum").choice((0, 0, 0, 0, 300, 1000))
        if market_maximum_usd:
            happenings += InParts(seeded(self._seed, "in parts"), self.accounts, self.assets, self._storm_s).draw()
        return World(
            seed=self._seed,
            accounts=self.accounts,
            assets=self.assets,
            schemes={name: "v3" if dice.random() < 0.6 else "v1" for name in self.accounts},
            hedged=tuple(name for name in self.accounts if dice.random() < 0.12),
            settings=self._settings(window_s)
            | self._on_existing()
            | foreign.settings
            | scenes.settings
            | moving.settings,
            balance=dice.choice((1_000, 10_000, 100_000)),
            nonce_window_s=window_s,
            depth=dice.choice(("1", "1", "1", "0.05", "0.005")),
            volatility=dice.choice((0.0002, 0.0006, 0.0015)),
            drift=dice.choice((0.0, 0.0, 1e-5, -1e-4, 1e-3)),
            skew_s=dice.choice((0.0, 0.0, 0.4, -0.7, 3.0, -40.0)),
            latency_s=dice.choice((0.002, 0.02, 0.05, 0.15)),
            jitter=dice.choice((0.1, 0.5, 1.0)),
            unrest=dice.choice((0.0, 0.0, 0.02, 0.2)),
            storm_s=self._storm_s,
            ending=dice.choice(("hold", "close")),
            stands_by=races.stands_by,
            rules=foreign.rules,
            algo_orders_maximum=algo_orders_maximum(seeded(self._seed, "algo orders")),
            market_maximum_usd=market_maximum_usd,
            happenings=tuple(sorted(happenings, key=lambda happening: happening.at)),
        )

    def _settings(self, window_s: float) -> dict[str, str]:
        dice = self._dice
        settings = {
            "TES_ASTER_NONCE_WINDOW_SECONDS": str(window_s),
            "TES_RISK_COOLDOWN_SECONDS": dice.choice(("0", "0", "2", "8", "20")),
            "TES_RISK_MAX_PRICE_DEVIATION_BPS": dice.choice(("100", "1000")),
            "TES_RECONCILE_INTERVAL_SECONDS": dice.choice(("2", "5", "10") if len(self.accounts) == 1 else ("5", "10")),
            "TES_PROTECTION_DEADLINE_SECONDS": dice.choice(("4", "8")),
            "TES_PROTECTION_BASE_DELAY_SECONDS": dice.choice(("0.1", "0.3")),
            "TES_PROTECTION_MAX_ATTEMPTS": dice.choice(("3", "6", "10")),
            "TES_PROTECTION_SL_TYPE": dice.choice(("STOP_MARKET", "STOP_MARKET", "STOP")),
            "TES_PROTECTION_TP_TYPE": dice.choice(("TAKE_PROFIT_MARKET", "TAKE_PROFIT_MARKET", "TAKE_PROFIT", "LIMIT")),
            "TES_RISK_ALLOCATION_BASIS": dice.choice(("notional", "notional", "margin")),
            "TES_RISK_LEVERAGE_POLICY": dice.choice(("cap", "cap", "reject")),
        }
        if dice.random() < 0.15:
            settings["TES_RISK_MAX_LEVERAGE"], settings["TES_RISK_DEFAULT_LEVERAGE"] = "8", "3"
        if dice.random() < 0.2:
            settings["TES_MARGIN_TYPE"] = dice.choice(("ISOLATED", "CROSSED"))
        if dice.random() < 0.15:
            settings["TES_RISK_MAX_NOTIONAL_PER_ASSET"] = "1500"
        if dice.random() < 0.1:
            settings["TES_RISK_MAX_OPEN_POSITIONS"] = "1"
        if dice.random() < 0.15:
            settings["TES_PROTECTION_ON_FAILURE"] = "alert"
        return settings

    def _on_existing(self) -> dict[str, str]:
        """What an entry does to a position that is there; with dice of its own, so that the rest stays as it is."""
        way = seeded(self._seed, "on existing").choice(("reject", "reject", "reject", "reject", "add", "flip"))
        return {} if way == "reject" else {"TES_RISK_ON_EXISTING_POSITION": way}

    # --- what the engine and its operator do ------------------------------------------------------------------------

    def _decide(self, at: float) -> Happening:
        dice = self._dice
        self._numbers += 1
        chosen = dice.sample(self.assets, dice.choice((1, 1, len(self.assets))))
        items = [self._item(asset) for asset in chosen]
        repeats = dice.choice((1, 1, 1, 2, 3))
        details = {"account": self._account(), "decision_id": f"d{self._numbers}", "items": items, "repeats": repeats}
        if dice.random() < 0.08:
            details["again_as"] = "another body"
        return Happening(at, "decide", details)

    def _item(self, asset: str) -> dict[str, Any]:
        dice = self._dice
        action = dice.choices(_ACTIONS, (10, 8, 4, 0.3, 2.5, 2))[0]
        item: dict[str, Any] = {"asset": asset, "action": action}
        if action in ("close_position", "hold"):
            return item
        if action == "adjust_position":
            return item | {"position_adjustment": self._position_adjustment()}
        if action == "adjust_orders":
            return item | {"order_adjustment": self._order_adjustment()}
        item["allocation_usd"] = dice.choice((20, 200, 800, 2500, 20_000))
        item["leverage"] = dice.choice((1, 3, 3, 10, 10, 25, 40))
        if dice.random() < 0.9:
            item["sl_bps"] = dice.choice((30, 80, 150, 300))
        if dice.random() < 0.75:
            item["tp_bps"] = dice.choice((30, 80, 200))
        if dice.random() < 0.15 and "sl_bps" in item:
            item["trailing_percent"] = dice.choice(("0.5", "1.5"))
        return item

    def _position_adjustment(self) -> dict[str, Any]:
        dice = self._dice
        wish: dict[str, Any] = {"adjustment_type": dice.choice(("increase", "decrease"))}
        if dice.random() < 0.5:
            wish["adjustment_percentage"] = dice.choice((10, 50, 100))
        else:
            wish["adjustment_amount_usd"] = dice.choice((20, 150, 600))
        if dice.random() < 0.3:
            wish["new_sl_bps"] = dice.choice((60, 200))
        return wish

    def _order_adjustment(self) -> dict[str, Any]:
        dice = self._dice
        bps = dice.choice((50, 150))
        return dict(dice.choice(({"new_sl_bps": bps}, {"new_tp_bps": bps}, {"cancel_tp": True}, {"cancel_sl": True})))

    def _close(self, at: float) -> Happening:
        return Happening(at, "close", {"account": self._account(), "asset": self._asset()})

    def _halt(self, at: float) -> Happening:
        details = {"account": self._account(), "flatten": self._dice.random() < 0.5, "lasts": self._dice.uniform(2, 12)}
        return Happening(at, "halt", details)

    def _reconcile(self, at: float) -> Happening:
        return Happening(at, "reconcile", {"account": self._account()})

    def _stop(self, at: float) -> Happening:
        return Happening(at, "stop", {"pause": self._dice.choice((0.1, 2.0, 9.0))})

    def _crash(self, at: float) -> Happening:
        dice = self._dice
        fuses = [self._fuse() for _ in range(dice.choice((1, 1, 1, 2, 3)))]
        pauses = [dice.choice((0.05, 0.3, 1.0, 3.0, 12.0)) for _ in fuses]
        return Happening(at, "crash", {"fuses": fuses, "pauses": pauses})

    def _fuse(self) -> tuple[str, int]:
        what = self._dice.choice(("step", "step", "mutation", "commit", "entry", "exit"))
        most = {"step": 400, "mutation": 4, "commit": 6, "entry": 2, "exit": 3}[what]
        return what, max(1, int(most ** self._dice.random()))

    # --- what the network and the exchange do -----------------------------------------------------------------------

    def _weather(self, at: float) -> Happening:
        dice = self._dice
        families = {
            "lost": 0.15,
            "slow": 0.08,
            "unknown": 0.2,
            "limited": 0.05,
            "refused": 0.25,
            "clock": 0.04,
            "auth": 0.02,
        }
        chosen = {
            name: round(most * dice.uniform(0.3, 2.0), 3) for name, most in families.items() if dice.random() < 0.45
        }
        if dice.random() < 0.1 and chosen:
            chosen = {name: min(chance * 3, 0.6) for name, chance in chosen.items()}
        return Happening(at, "weather", {"chances": chosen, "lasts": dice.choice((3.0, 8.0, 20.0, 60.0))})

    def _cut(self, at: float) -> Happening:
        return Happening(at, "cut", {"lasts": self._dice.choice((0.5, 3.0, 15.0))})

    def _outage(self, at: float) -> Happening:
        kind = self._dice.choice(("maintenance", "restart"))
        return Happening(at, "outage", {"kind": kind, "lasts": self._dice.choice((2.0, 8.0, 20.0))})

    def _ban(self, at: float) -> Happening:
        return Happening(at, "ban", {"seconds": self._dice.choice((3, 10))})

    def _frames(self, at: float) -> Happening:
        dice = self._dice
        kind = dice.choice(
            ("drop_events", "duplicate_events", "delay_events", "reorder_events", "disconnect", "silence")
        )
        details = {"kind": kind, "seconds": dice.choice((0.3, 2.0, 8.0)), "lasts": dice.choice((4.0, 15.0)),
                   "chance": dice.choice((0.15, 0.5, 1.0))}  # fmt: skip
        return Happening(at, "frames", details)

    def _key_dies(self, at: float) -> Happening:
        return Happening(at, "key_dies", {"account": self._account(), "quietly": self._dice.random() < 0.5})

    def _venue_clock(self, at: float) -> Happening:
        seconds = self._dice.choice((-8.0, -1.0, 1.0, 8.0))
        return Happening(at, "venue_clock", {"seconds": seconds, "lasts": self._dice.choice((2.0, 10.0))})

    def _host_clock(self, at: float) -> Happening:
        return Happening(at, "host_clock", {"seconds": self._dice.choice((-20.0, -2.0, -0.5, 0.5, 2.0, 20.0))})

    def _disk(self, at: float) -> Happening:
        dice = self._dice
        details = {"commit_s": dice.choice((0.001, 0.05, 0.8)), "failure": dice.choice((0.0, 0.1, 0.5, 1.0)),
                   "lasts": dice.choice((1.0, 5.0))}  # fmt: skip
        return Happening(at, "disk", details)

    def _history(self, at: float) -> Happening:
        return Happening(
            at, "history", {"lag_s": self._dice.choice((1.0, 5.0)), "lasts": self._dice.choice((5.0, 20.0))}
        )

    def _depth(self, at: float) -> Happening:
        return Happening(at, "thin", {"asset": self._asset(), "lasts": self._dice.choice((2.0, 10.0))})

    # --- what the market and the human do ---------------------------------------------------------------------------

    def _price(self, at: float) -> Happening:
        bps = self._dice.choice((20, 50, 120, 160, 250, 350, 600)) * self._dice.choice((-1, 1))
        return Happening(at, "price", {"asset": self._asset(), "bps": bps, "glides": self._dice.random() < 0.6})

    def _funding(self, at: float) -> Happening:
        return Happening(at, "price", {"asset": self._asset(), "bps": 5, "glides": True})

    def _human_trade(self, at: float) -> Happening:
        dice = self._dice
        kind = dice.choice(("MARKET", "LIMIT", "STOP_MARKET"))
        details = {"account": self._account(), "asset": self._asset(), "side": dice.choice(("BUY", "SELL")),
                   "kind": kind, "usd": dice.choice((30, 200, 900))}  # fmt: skip
        return Happening(at, "human_trade", details)

    def _human_close(self, at: float) -> Happening:
        details = {"account": self._account(), "asset": self._asset(), "part": self._dice.choice((0.3, 0.5, 1.0))}
        return Happening(at, "human_close", details)

    def _human_flip(self, at: float) -> Happening:
        return Happening(at, "human_flip", {"account": self._account(), "asset": self._asset()})

    def _human_cancel(self, at: float) -> Happening:
        details = {"account": self._account(), "asset": self._asset(), "role": self._dice.choice(("s", "t", "ts"))}
        return Happening(at, "human_cancel", details)

    def _human_modes(self, at: float) -> Happening:
        details = {"account": self._account(), "asset": self._asset(), "leverage": self._dice.choice((2, 20, 50))}
        return Happening(at, "human_modes", details)

    def _account(self) -> str:
        return self._dice.choice(self.accounts)

    def _asset(self) -> str:
        return self._dice.choice(self.assets)
