"""Late lists: the exchange shows positions at once, and its orders and executions long after (U11, O9).

They have dice of their own, so that all other worlds are drawn as if there were no such thing.
"""

from __future__ import annotations

from proof.fates import DONE_AND_UNTOLD
from proof.happenings import Happening
from proof.scenes import Scenes

_CHANCE = 0.15


class LateLists(Scenes):
    """Draws whether the exchange's lists are late in a world, and what happens meanwhile."""

    names = "l"

    def draw(self) -> list[Happening]:
        """One or two scenes in some worlds, and nothing elsewhere."""
        dice = self._dice
        return self._some(dice.choice((1, 1, 2)) if dice.random() < _CHANCE else 0, _SCENES, self._storm_s * 0.4)

    def _late(self, at: float) -> Happening:
        """Orders and executions are in no list, and no frame tells of an order."""
        return Happening(at, "late_lists", {"lasts": self._dice.choice((8.0, 30.0, 60.0))})

    def _shown_by_its_position(self, at: float, where: dict[str, str]) -> list[Happening]:
        """Only the position tells that an entry was executed (U11)."""
        dice = self._dice
        scene = [self._late(at - 0.1), self._befall(at - 0.05, "e", dice.choice(DONE_AND_UNTOLD), 1.5)]
        if dice.random() < 0.3:
            scene.append(self._crash(at + dice.uniform(0.1, 6.0), "step", 1, dice.choice((0.1, 2.0))))
        if dice.random() < 0.3:
            side = dice.choice(("BUY", "SELL"))
            human = {**where, "side": side, "kind": "MARKET", "usd": dice.choice((100, 900))}
            scene.append(Happening(at + dice.uniform(0.5, 8.0), "human_trade", human))
        return [*scene, self._enter(at, where)]

    def _more_while_closing(self, at: float, where: dict[str, str]) -> list[Happening]:
        """A position is closed while only the position tells of an increase (U11)."""
        dice = self._dice
        more = {"adjustment_type": "increase", "adjustment_amount_usd": 150}
        return [
            self._enter(at, where, sl_bps=300, tp_bps=300),
            self._late(at + 2.9),
            self._befall(at + 2.95, "e", dice.choice((*DONE_AND_UNTOLD, "503")), 1.5),
            self._decide(at + 3.0, where, action="adjust_position", position_adjustment=more),
            self._decide(at + dice.choice((3.5, 5.0, 8.0)), where, action="close_position"),
        ]

    def _close_beside_a_person(self, at: float, where: dict[str, str]) -> list[Happening]:
        """Nothing tells of a close, and somebody else holds the same side (O9)."""
        dice = self._dice
        entry = self._enter(at, where, sl_bps=300, tp_bps=300)
        side = {"buy": "BUY", "sell": "SELL"}[entry.details["items"][0]["action"]]
        human = {**where, "side": side, "kind": "MARKET", "usd": dice.choice((100, 800, 900))}
        return [
            entry,
            Happening(at + dice.choice((2.0, 4.2)), "human_trade", human),
            self._late(at + 3.9),
            self._befall(at + 3.95, "c", dice.choice((*DONE_AND_UNTOLD, "503")), 1.5),
            self._decide(at + 4.0, where, action="close_position"),
        ]


_SCENES = ("shown_by_its_position", "shown_by_its_position", "more_while_closing", "close_beside_a_person")
