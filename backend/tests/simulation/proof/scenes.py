"""Scenes: things that only mean something together, which chance alone would seldom put side by side.

Each is a handful of happenings around one decision, aimed at a promise: coverage and the planted bugs told which ones
the free draws do not reach.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proof.fates import DONE_AND_UNTOLD, FATES
from proof.happenings import Happening


class Scenes:
    """Draws scenes for one world.

    Args:
        dice: their own, so that a scene shifts nothing else in the world.
        accounts: of the world.
        assets: of the world.
        storm_s: when everything heals.
    """

    names = "s"
    """How the names of their decisions begin."""

    def __init__(self, dice: random.Random, accounts: tuple[str, ...], assets: tuple[str, ...], storm_s: float) -> None:
        self._dice = dice
        self._accounts = accounts
        self._assets = assets
        self._storm_s = storm_s
        self._numbers = 0
        self.settings: dict[str, str] = {}
        """What a scene asks of the world's settings."""
        self.window_s = 0.0
        """What a scene asks of the exchange's window for requests; 0 is nothing."""

    def draw(self) -> list[Happening]:
        """None, one or some."""
        return self._some(self._dice.choice((0, 1, 1, 2, 2, 3, 3)), SCENES, self._storm_s - 18.0)

    def _some(self, count: int, names: Sequence[str], latest: float) -> list[Happening]:
        """``count`` scenes of those named, each on some account and asset, and begun by ``latest`` seconds."""
        dice = self._dice
        found: list[Happening] = []
        for _ in range(count):
            scene: Callable[[float, dict[str, str]], list[Happening]] = getattr(self, f"_{dice.choice(names)}")
            at = dice.uniform(2.0, max(3.0, latest))
            found += scene(at, {"account": dice.choice(self._accounts), "asset": dice.choice(self._assets)})
        return found

    # --- what scenes are made of ------------------------------------------------------------------------------------

    def _decide(self, at: float, where: Mapping[str, str], **item: Any) -> Happening:
        self._numbers += 1
        wish = {"asset": where["asset"], **item}
        details = {
            "account": where["account"],
            "decision_id": f"{self.names}{self._numbers}",
            "items": [wish],
            "repeats": 1,
        }
        return Happening(at, "decide", details)

    def _enter(self, at: float, where: Mapping[str, str], **changes: Any) -> Happening:
        dice = self._dice
        wish = {"action": dice.choice(("buy", "sell")), "allocation_usd": dice.choice((200, 800)), "leverage": 3}
        return self._decide(at, where, **(wish | {"sl_bps": 150, "tp_bps": 200} | changes))

    def _weather(self, at: float, lasts: float, **chances: float) -> Happening:
        return Happening(at, "weather", {"chances": chances, "lasts": lasts})

    def _befall(self, at: float, kind: str, fate: str, lasts: float) -> Happening:
        """Every request of a kind meets one fate, and no other request does."""
        return Happening(at, "befall", {"kind": kind, "fate": fate, "lasts": lasts})

    def _deaf(self, at: float, lasts: float) -> Happening:
        """Every frame is lost."""
        return Happening(at, "frames", {"kind": "drop_events", "seconds": 1.0, "lasts": lasts, "chance": 1.0})

    def _crash(self, at: float, what: str, count: int, pause: float) -> Happening:
        return Happening(at, "crash", {"fuses": [(what, count)], "pauses": [pause]})

    # --- scenes -----------------------------------------------------------------------------------------------------

    def _entry_in_doubt(self, at: float, where: dict[str, str]) -> list[Happening]:
        """Nobody tells what became of an entry, and perhaps it is under way for long (U1-U4)."""
        dice = self._dice
        fate = dice.choice((*DONE_AND_UNTOLD, "silence before", "503 executed"))
        scene = [self._befall(at - 0.05, "e", fate, dice.choice((1.5, 4.0))), self._enter(at, where)]
        if dice.random() < 0.8:
            scene.append(self._deaf(at - 0.1, dice.choice((6.0, 15.0))))
        if dice.random() < 0.3:
            scene.append(self._crash(at, dice.choice(("entry", "step")), 1, dice.choice((0.1, 2.0))))
        return scene

    def _entry_told_as_a_page(self, at: float, where: dict[str, str]) -> list[Happening]:
        """A proxy answers an entry that was executed with a page and a 200, and no frame tells of it (U1)."""
        scene = [self._befall(at - 0.05, "e", "html in a 200 executed", 1.5), self._enter(at, where)]
        return [*scene, self._deaf(at - 0.1, self._dice.choice((6.0, 15.0)))]

    def _late_entry(self, at: float, where: dict[str, str]) -> list[Happening]:
        """An entry is under way for longer than anybody waits for it, and arrives before its fence (U3)."""
        self.window_s = 10.0
        return [self._befall(at - 0.05, "e", "late", 1.5), self._enter(at, where), self._deaf(at + 0.5, 20.0)]

    def _entry_before_its_record(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The disk is slow, and the process dies as the entry leaves (C2)."""
        slow = {"commit_s": 0.8, "failure": 0.0, "lasts": 6.0}
        crash = self._crash(at - 0.1, self._dice.choice(("entry", "commit")), 1, self._dice.choice((0.1, 2.0)))
        return [Happening(at - 0.3, "disk", slow), crash, self._enter(at, where)]

    def _refused_on_a_full_disk(self, at: float, where: dict[str, str]) -> list[Happening]:
        """A refusal is quicker than the record of what it refuses (C2)."""
        full = {"commit_s": self._dice.choice((0.05, 0.8)), "failure": 1.0, "lasts": 3.0}
        refused = self._enter(at, where, sl_bps=-100)
        return [Happening(at - 0.05, "disk", full), refused, self._enter(at + 5.0, where)]

    def _sent_again_on_a_full_disk(self, at: float, where: dict[str, str]) -> list[Happening]:
        """What a decision changes in a trade is taken in, its own record is not, and it is sent again (C2, C5)."""
        dice = self._dice
        way = dice.choice(("add", "flip"))
        self.settings |= {"TES_RISK_ON_EXISTING_POSITION": way, "TES_RISK_COOLDOWN_SECONDS": "1"}
        action = dice.choice(("buy", "sell"))
        other = action if way == "add" else {"buy": "sell", "sell": "buy"}[action]
        full = {"commit_s": dice.choice((0.001, 0.05)), "failure": 1.0, "lasts": dice.choice((0.1, 0.4))}
        return [
            self._enter(at, where, action=action, sl_bps=300, tp_bps=300),
            Happening(at + 3.98, "disk", full),
            self._enter(at + 4.0, where, action=other, sl_bps=300, tp_bps=300),
        ]

    def _reads_fail(self, at: float, where: dict[str, str]) -> list[Happening]:
        """A position does not close while it can't be read: that is not flat (U4)."""
        fate = self._dice.choice(("503", "html", "-1000"))
        return [
            self._enter(at, where, sl_bps=300, tp_bps=300),
            self._befall(at + 3.9, "positionRisk", fate, 8.0),
            self._befall(at + 3.9, "c", self._dice.choice(("-2022", "-4131")), 12.0),
            self._decide(at + 4.0, where, action="close_position"),
        ]

    def _orders_unread_after_a_restart(self, at: float, where: dict[str, str]) -> list[Happening]:
        """A process finds its stops on record, and can't ask for them: that is no reason to give up (U4, C1)."""
        self.window_s = 1.5
        self.settings |= {"TES_PROTECTION_DEADLINE_SECONDS": "4", "TES_RECONCILE_INTERVAL_SECONDS": "10"}
        fate = self._dice.choice(("503", "html", "-1000"))
        return [
            self._enter(at, where, sl_bps=300, tp_bps=300),
            self._befall(at + 7.9, "order", fate, 13.0),
            self._befall(at + 7.9, "allOrders", fate, 13.0),
            self._crash(at + 8.0, "step", 1, self._dice.choice((0.1, 1.0))),
        ]

    def _told_to_wait(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The exchange's patience ends while a position must be closed (L1)."""
        limited = self._weather(at + 1.5, self._dice.choice((3.0, 8.0)), limited=self._dice.choice((0.3, 0.7)))
        return [self._enter(at, where), limited, self._decide(at + 2.0, where, action="close_position")]

    def _stuck_entry(self, at: float, where: dict[str, str]) -> list[Happening]:
        """An entry was admitted in time and is executed when it has been given up (U10)."""
        scene = [self._befall(at - 0.05, "e", "stuck", 1.5), self._enter(at, where)]
        if self._dice.random() < 0.3:
            scene.append(self._deaf(at, 15.0))
        if self._dice.random() < 0.3:
            scene.append(self._crash(at + self._dice.uniform(2.0, 12.0), "step", 1, 0.5))
        return scene

    def _late_fill_after_a_restart(self, at: float, where: dict[str, str]) -> list[Happening]:
        """An entry is executed when the process that gave it up is gone, and only the stream tells soon (U10)."""
        self.window_s = 1.5
        self.settings |= {"TES_PROTECTION_DEADLINE_SECONDS": "4", "TES_RECONCILE_INTERVAL_SECONDS": "10"}
        crash = self._crash(at + self._dice.uniform(6.0, 9.0), "step", 1, 0.1)
        return [self._befall(at - 0.05, "e", "stuck", 1.5), self._enter(at, where), crash]

    def _exits_in_doubt(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The answers to both exits get lost, with the frames that would tell (P5, U2)."""
        dice = self._dice
        lasts = dice.choice((2.0, 6.0))
        scene = [self._enter(at, where)]
        for kind in ("s", "t"):
            fate = dice.choice(FATES[dice.choice(("lost", "unknown", "late"))])
            scene.append(self._befall(at - 0.05, kind, fate.name, lasts))
        return [*scene, self._deaf(at + dice.choice((0.02, 0.1, 0.3)), 12.0)] if dice.random() < 0.7 else scene

    def _stubborn_refusal(self, at: float, where: dict[str, str]) -> list[Happening]:
        """An exit is refused for long: the deadline decides (P2, P3)."""
        dice = self._dice
        delay_s = dice.choice(("0.1", "0.3"))
        self.settings |= {"TES_PROTECTION_MAX_ATTEMPTS": "10", "TES_PROTECTION_BASE_DELAY_SECONDS": delay_s}
        role, code = dice.choice((("s", "-2022"), ("s", "-4045"), ("s", "-4045"), ("s", "-2019"), ("s", "-4999"),
                                  ("s", "-2021"), ("t", "-2022"), ("t", "-2021"), ("c", "-2022"), ("c", "-4131"),
                                  ("r", "-2022"), ("r", "-4045")))  # fmt: skip
        scene = [self._befall(at - 0.1, role, code, dice.choice((12.0, 60.0)))]
        if role == "r":
            return [*scene, self._enter(at, where, trailing_percent="1.5")]
        scene.append(self._enter(at, where))
        if role == "c":
            scene.append(self._decide(at + 2.0, where, action="close_position"))
        if dice.random() < 0.4:
            scene.append(self._crash(at + dice.uniform(0.3, 4.0), "step", 1, dice.choice((0.1, 1.0))))
        return scene

    def _jump_into_the_stop(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The price is beyond the stop before it is on the book (P1)."""
        dice = self._dice
        jump = {"asset": where["asset"], "bps": dice.choice((-90, 90, -160, 160)), "glides": False}
        return [self._enter(at, where, sl_bps=30), Happening(at + dice.uniform(0.0, 0.5), "price", jump)]

    def _stop_taken_away(self, at: float, where: dict[str, str]) -> list[Happening]:
        """Somebody cancels our stop, perhaps when nobody hears of it (P5)."""
        cancel = Happening(at + 3.0, "human_cancel", {**where, "role": self._dice.choice(("s", "t", "ts"))})
        scene = [self._enter(at, where, sl_bps=300, tp_bps=300), cancel]
        return [*scene, self._deaf(at + 2.5, 8.0)] if self._dice.random() < 0.5 else scene

    def _part_taken_off(self, at: float, where: dict[str, str]) -> list[Happening]:
        """A part of the position goes: what is left must be covered, exactly (P10)."""
        dice = self._dice
        scene = [self._enter(at, where, allocation_usd=800, sl_bps=300, tp_bps=300)]
        if dice.random() < 0.5:
            return [*scene, Happening(at + 3.0, "human_close", {**where, "part": 0.5})]
        wish = {"adjustment_type": dice.choice(("increase", "decrease")), "adjustment_percentage": 50}
        return [*scene, self._decide(at + 3.0, where, action="adjust_position", position_adjustment=wish)]

    def _taken_off_while_the_clock_is_back(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The exchange's clock is set back, and then somebody takes off what was bought before it (H5)."""
        part = self._dice.choice((0.5, 1.0))
        return [
            self._enter(at, where, sl_bps=300, tp_bps=300),
            Happening(at + 3.0, "venue_clock", {"seconds": -8.0, "lasts": 10.0}),
            Happening(at + 3.5, "human_close", {**where, "part": part}),
            self._decide(at + 7.0, where, action="close_position"),
        ]

    def _history_is_behind(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The list of executions is late when a trade must be accounted for, and no frame has told of them (H5)."""
        late = Happening(at, "history", {"lag_s": self._dice.choice((2.0, 8.0)), "lasts": 25.0})
        close = self._decide(at + 4.0, where, action="close_position")
        return [late, self._deaf(at - 0.1, 15.0), self._enter(at, where), close]

    def _stop_moved(self, at: float, where: dict[str, str]) -> list[Happening]:
        """A new stop replaces the old one, in bad weather or through a crash (P10)."""
        dice = self._dice
        wish = dice.choice(({"new_sl_bps": 200}, {"new_sl_bps": 60}, {"new_tp_bps": 120}))
        scene = [
            self._enter(at, where, sl_bps=300, tp_bps=300),
            self._decide(at + 3.0, where, action="adjust_orders", order_adjustment=wish),
        ]
        if dice.random() < 0.4:
            scene.append(self._crash(at + 2.9, dice.choice(("exit", "mutation", "step")), dice.choice((1, 2)), 0.5))
        elif dice.random() < 0.5:
            scene.append(self._weather(at + 2.95, 2.0, **{dice.choice(("lost", "unknown", "refused")): 0.7}))
        return scene

    def _again_after_a_restart(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The cooldown of a trade that has ended outlives the process (C6)."""
        self.settings["TES_RISK_COOLDOWN_SECONDS"] = "20"
        return [
            self._enter(at, where),
            self._decide(at + 2.0, where, action="close_position"),
            self._crash(at + 4.0, "step", 1, 0.2),
            *(self._enter(at + wait, where) for wait in (6.0, 8.0, 10.0)),
        ]

    def _clock_is_wrong(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The host's clock is set, and the next thing is an entry (L2)."""
        jump = self._dice.choice((-25.0, -25.0, -8.0, 8.0, 25.0))
        at_jump = at + self._dice.choice((-0.3, 2.0))
        close = self._decide(at + 4.0, where, action="close_position")
        scene = [Happening(at_jump, "host_clock", {"seconds": jump}), self._enter(at, where), close]
        return [*scene, self._deaf(at - 0.1, 12.0)] if self._dice.random() < 0.5 else scene

    def _deaf_ear(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The listen key dies, and then an exit fires (W1, W2)."""
        dice = self._dice
        quietly = {"account": where["account"], "quietly": dice.random() < 0.5}
        jump = {"asset": where["asset"], "bps": dice.choice((-350, 350)), "glides": dice.random() < 0.5}
        return [self._enter(at, where), Happening(at + 2.0, "key_dies", quietly), Happening(at + 5.0, "price", jump)]

    def _both_sides_fire(self, at: float, where: dict[str, str]) -> list[Happening]:
        """One exit fires while the process is down, and the price comes back to the other (O1)."""
        dice = self._dice
        sign = dice.choice((-1, 1))
        first = {"asset": where["asset"], "bps": sign * 250, "glides": False}
        back = {"asset": where["asset"], "bps": -sign * 500, "glides": dice.random() < 0.5}
        return [
            self._enter(at, where, tp_bps=150),
            self._crash(at + 2.0, "step", 1, dice.choice((0.5, 6.0))),
            Happening(at + 2.5, "price", first),
            Happening(at + dice.choice((2.7, 4.0)), "price", back),
        ]

    def _close_in_a_crash(self, at: float, where: dict[str, str]) -> list[Happening]:
        """A close has left when the process dies, and somebody else holds the same (C1, H2)."""
        dice = self._dice
        entry = self._enter(at, where)
        side = {"buy": "BUY", "sell": "SELL"}[entry.details["items"][0]["action"]]
        scene = [
            entry,
            Happening(at + 3.5, "disk", {"commit_s": dice.choice((0.001, 0.8)), "failure": 0.0, "lasts": 4.0}),
            self._crash(at + 3.9, dice.choice(("exit", "exit", "exit", "commit", "step")), 1, dice.choice((0.1, 3.0))),
            self._decide(at + 4.0, where, action="close_position"),
        ]
        human = {**where, "side": side, "kind": "MARKET", "usd": 900}
        return [*scene, Happening(at + 2.5, "human_trade", human)] if dice.random() < 0.7 else scene


SCENES = (
    "entry_in_doubt", "entry_in_doubt", "entry_told_as_a_page", "entry_told_as_a_page", "late_entry", "stuck_entry",
    "entry_before_its_record", "refused_on_a_full_disk", "reads_fail", "reads_fail", "orders_unread_after_a_restart",
    "orders_unread_after_a_restart", "told_to_wait", "told_to_wait", "exits_in_doubt", "stubborn_refusal",
    "stubborn_refusal", "stubborn_refusal", "jump_into_the_stop", "stop_taken_away", "part_taken_off", "stop_moved",
    "again_after_a_restart", "again_after_a_restart", "clock_is_wrong", "clock_is_wrong", "deaf_ear",
    "both_sides_fire", "close_in_a_crash", "close_in_a_crash", "taken_off_while_the_clock_is_back",
    "late_fill_after_a_restart", "late_fill_after_a_restart", "history_is_behind", "sent_again_on_a_full_disk",
    "sent_again_on_a_full_disk",
)  # fmt: skip
"""Which scenes are drawn, and how often each."""
