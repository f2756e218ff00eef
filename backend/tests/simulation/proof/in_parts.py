"""Entries that are larger than one market order may be, and what happens between their parts (O7).

They have dice of their own, so that worlds without such a maximum are drawn as if there were no such thing.
"""

from __future__ import annotations

from collections.abc import Callable

from proof.fates import DONE_AND_UNTOLD
from proof.happenings import Happening
from proof.scenes import Scenes


class InParts(Scenes):
    """Draws what happens between the parts of entries, for worlds in which one market order may not be for all."""

    names = "p"

    def draw(self) -> list[Happening]:
        """One such scene at the beginning, where the asset is still free, and perhaps another."""
        dice = self._dice
        found: list[Happening] = []
        for at in (dice.uniform(0.3, 1.5), dice.uniform(2.0, max(3.0, self._storm_s - 14.0)))[: dice.choice((1, 2))]:
            scene: Callable[[float, dict[str, str]], list[Happening]] = getattr(self, f"_{dice.choice(_SCENES)}")
            found += scene(at, {"account": dice.choice(self._accounts), "asset": dice.choice(self._assets)})
        return found

    def _large(self, at: float, where: dict[str, str]) -> Happening:
        return self._enter(at, where, allocation_usd=self._dice.choice((1200, 2500)), sl_bps=300, tp_bps=300)

    def _between(self, at: float) -> float:
        """Mostly after the first part has left, and before the last one has: that is a matter of the latency."""
        return at + 10 ** self._dice.uniform(-2.0, 0.0)

    def _one_refused(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The exchange refuses a part, or nobody tells what became of it, or it is executed when it was given up."""
        fate = self._dice.choice(("-2019", "-2019", "-2019", "-4131", "503", "stuck", *DONE_AND_UNTOLD))
        return [self._befall(at - 0.1, self._dice.choice(("e2", "e3")), fate, 8.0), self._large(at, where)]

    def _one_bare(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The exits of a part are refused for long."""
        return [self._befall(at - 0.1, self._dice.choice(("s2", "t2")), "-4045", 12.0), self._large(at, where)]

    def _left_between(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The position is closed, by a decision or by hand, or everything is halted."""
        then = self._between(at)
        leave = self._dice.choice((
            self._decide(then, where, action="close_position"),
            Happening(then, "human_close", {**where, "part": 1.0}),
            Happening(then, "human_close", {**where, "part": 0.5}),
            Happening(then, "halt", {"account": where["account"], "flatten": False, "lasts": 4.0}),
        ))  # fmt: skip
        return [self._large(at, where), leave]

    def _died_between(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The process dies as a part leaves, or its exits do."""
        dice = self._dice
        crash = self._crash(at, dice.choice(("entry", "exit")), dice.choice((2, 3)), dice.choice((0.1, 2.0)))
        return [crash, self._large(at + 0.01, where)]


_SCENES = ("one_refused", "one_refused", "one_bare", "left_between", "died_between")
