"""What the market and the exchange's limits do between a decision and its exits (Z8, P11, P14).

They have dice of their own, so that all other worlds are drawn as if there were no such thing.
"""

from __future__ import annotations

import random

from proof.happenings import Happening
from proof.scenes import Scenes

_CHANCE = 0.2


def algo_orders_maximum(dice: random.Random) -> int:
    """How many conditional orders may rest on a symbol; 0 is what the exchange's catalogue says."""
    return dice.choice((0, 0, 0, 0, 0, 1, 2, 3))


class MovingMarket(Scenes):
    """Draws moves of the market in the moments in which they hurt, in a part of the worlds."""

    names = "m"

    def draw(self) -> list[Happening]:
        """One or two scenes in some worlds, and nothing elsewhere."""
        dice = self._dice
        return self._some(dice.choice((1, 1, 2)) if dice.random() < _CHANCE else 0, _SCENES, self._storm_s - 14.0)

    def _jump(self, at: float, where: dict[str, str], bps: int) -> Happening:
        return Happening(at, "price", {"asset": where["asset"], "bps": bps, "glides": False})

    def _slow_leverage(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The exchange takes its time to set the leverage, and meanwhile the market leaves the plan (Z8)."""
        dice = self._dice
        lag_s = dice.choice((0.8, 1.6, 4.0))
        jump = self._jump(at + dice.uniform(0.1, lag_s), where, dice.choice((-400, -200, -120, 120, 200, 400)))
        slow = Happening(at - 0.1, "slow_leverage", {"seconds": lag_s, "lasts": lag_s + 1.0})
        return [slow, self._enter(at, where, leverage=dice.choice((4, 7, 9))), jump]

    def _gap_through_the_stop(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The market jumps over a stop, and over the limit of one that has a limit, and perhaps comes back (P11)."""
        dice = self._dice
        self.settings["TES_PROTECTION_SL_TYPE"] = dice.choice(("STOP", "STOP", "STOP_MARKET"))
        side, way = dice.choice((("buy", -1), ("sell", 1)))
        scene = [
            self._enter(at, where, action=side, sl_bps=100, tp_bps=500),
            self._jump(at + dice.choice((1.0, 3.0)), where, way * dice.choice((250, 500))),
        ]
        if dice.random() < 0.3:
            scene.append(self._jump(at + dice.uniform(3.2, 9.0), where, -way * 300))
        return scene

    def _no_place_for_the_target(self, at: float, where: dict[str, str]) -> list[Happening]:
        """A person's conditional order takes a place between an entry and its exits (P14)."""
        dice = self._dice
        theirs = {**where, "side": dice.choice(("BUY", "SELL")), "kind": "STOP_MARKET", "usd": 100}
        return [
            self._enter(at, where),
            *(Happening(at + dice.uniform(0.0, 0.4), "human_trade", dict(theirs)) for _ in range(dice.choice((1, 2)))),
        ]


_SCENES = ("slow_leverage", "gap_through_the_stop", "no_place_for_the_target")
