"""Races for the lease (C4): a second process stands by, and the one that trades fails in every way that hands it over.

They have dice of their own, so that worlds without a second process are drawn as if there were no such thing.
"""

from __future__ import annotations

from proof.happenings import Happening
from proof.scenes import Scenes

_CHANCE = 0.2


class Races(Scenes):
    """Draws whether a second process stands by, and what befalls the two."""

    names = "r"

    def draw(self) -> list[Happening]:
        """Some races where a second process stands by, and nothing elsewhere."""
        dice = self._dice
        self.stands_by = dice.random() < _CHANCE
        return self._some(dice.choice((1, 1, 2, 3)) if self.stands_by else 0, RACES, self._storm_s - 14.0)

    def _later(self, at: float, where: dict[str, str]) -> Happening:
        """What comes to whoever serves then."""
        close = self._decide(at + 3.5, where, action="close_position")
        return self._dice.choice((close, self._enter(at + 5.0, where)))

    def _frozen_owner(self, at: float, where: dict[str, str]) -> list[Happening]:
        """Who trades stands still, mostly for longer than its lease lasts, and goes on where it was."""
        dice = self._dice
        starts = at + dice.choice((0.001, 0.01, 0.05, 0.1, 0.3, 2.0))
        freeze = Happening(starts, "freeze", {"lasts": dice.choice((1.0, 2.2, 2.7, 4.0, 4.0, 9.0))})
        return [self._enter(at, where), freeze, self._later(at, where)]

    def _dead_owner(self, at: float, where: dict[str, str]) -> list[Happening]:
        """Who trades dies with something in flight, and the other one takes over; later that one dies as well."""
        dice = self._dice
        what = dice.choice(("step", "mutation", "entry", "exit", "commit"))
        scene = [self._crash(at, what, dice.choice((1, 1, 2)), 0.3), self._enter(at + 0.01, where)]
        if dice.random() < 0.5:
            scene.append(self._crash(at + dice.choice((2.6, 3.0, 6.0)), "step", 1, dice.choice((0.1, 3.0))))
        return [*scene, self._later(at, where)]

    def _owner_without_database(self, at: float, where: dict[str, str]) -> list[Happening]:
        """Who trades, and nobody else, loses its way to the database for longer or shorter than the lease lasts."""
        dice = self._dice
        lost = Happening(at + dice.choice((-0.5, 0.02, 0.1)), "lose_database", {"lasts": dice.choice((1.5, 3.0, 6.0))})
        return [self._enter(at, where), lost, self._later(at, where)]

    def _outage(self, at: float, where: dict[str, str]) -> list[Happening]:
        """Nobody can write until about the moment when the lease runs out: who is the first to write then?"""
        dice = self._dice
        lasts = dice.choice((1.9, 2.2, 2.5, 2.8))
        disk = {"commit_s": dice.choice((0.001, 0.05)), "failure": 1.0, "lasts": lasts}
        looks = [Happening(at + lasts + wait, "reconcile", {"account": where["account"]}) for wait in (0.2, 0.5, 0.8)]
        close = Happening(at + lasts + 0.6, "close", dict(where))
        return [self._enter(at - 2.0, where), Happening(at, "disk", disk), *looks, close, self._later(at, where)]

    def _power_cut(self, at: float, where: dict[str, str]) -> list[Happening]:
        """Both die, and both start at the very same moment, before or after the lease ran out."""
        dice = self._dice
        cut = Happening(at + dice.choice((0.02, 0.1, 1.0)), "power_cut", {"pause": dice.choice((0.1, 2.45, 4.0))})
        return [self._enter(at, where), cut, self._later(at, where)]


RACES = (
    "frozen_owner", "frozen_owner", "frozen_owner", "dead_owner", "owner_without_database", "outage", "outage",
    "power_cut",
)  # fmt: skip
"""Which races are drawn, and how often each."""
