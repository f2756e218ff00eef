"""Orders of others that cover a position of ours, so that the exchange refuses to close it (O8, P13).

They have dice of their own, so that worlds without them are drawn as if there were no such thing.
"""

from __future__ import annotations

from proof.happenings import Happening
from proof.scenes import Scenes

_CHANCE = 0.3
RULES = ("only_closing_orders_cover", "triggers_obey_market_maximum")
"""Of the exchange, about which records disagree, or of which there is none."""


class ForeignOrders(Scenes):
    """Draws what covers a position of ours, what the operator chose for it, and which of the disputed rules hold."""

    names = "f"

    def draw(self) -> list[Happening]:
        """Some such scenes in a part of the worlds, and nothing elsewhere."""
        dice = self._dice
        self.rules = tuple(name for name in RULES if dice.random() < 0.2)
        self.settings["TES_PROTECTION_FOREIGN_ORDERS"] = dice.choice(("plain", "plain", "plain", "cancel", "alert"))
        return self._some(dice.choice((1, 1, 2)) if dice.random() < _CHANCE else 0, SCENES, self._storm_s - 14.0)

    def _cover(self, at: float, where: dict[str, str], **details: object) -> Happening:
        """A person's limit for all that is held."""
        dice = self._dice
        away = {"bps": dice.choice((30, 150)), "reduce_only": dice.random() < 0.3, "lasts": dice.choice((3.0, 9.0))}
        return Happening(at, "human_cover", {**where, **away, **details})

    def _leave(self, at: float, where: dict[str, str]) -> Happening:
        dice = self._dice
        flatten = {"account": where["account"], "flatten": True, "lasts": 4.0}
        return dice.choice((
            Happening(at, "close", dict(where)),
            self._decide(at, where, action="close_position"),
            Happening(at, "halt", flatten),
        ))  # fmt: skip

    def _covered_close(self, at: float, where: dict[str, str]) -> list[Happening]:
        """Closed while a limit of somebody else rests."""
        return [self._enter(at, where), self._cover(at + 2.0, where), self._leave(at + 2.6, where)]

    def _covered_race(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The limit is executed in the moment in which the plain close arrives; often another rests to buy back."""
        dice = self._dice
        moves = [
            Happening(
                at + 2.6 + dice.uniform(0.1, 0.6), "price", {"asset": where["asset"], "bps": bps, "glides": False}
            )
            for bps in (35, -70)
        ]
        scene = [self._enter(at, where), self._cover(at + 2.0, where, bps=30)]
        if dice.random() < 0.7:
            scene.append(self._cover(at + 2.1, where, bps=150, reduce_only=False, lasts=9.0, opposite=True))
        return [*scene, self._leave(at + 2.6, where), *moves]

    def _covered_in_doubt(self, at: float, where: dict[str, str]) -> list[Happening]:
        """The plain close gets no answer, or its process dies as it leaves."""
        dice = self._dice
        scene = [self._enter(at, where), self._cover(at + 2.0, where), self._leave(at + 2.6, where)]
        if dice.random() < 0.5:
            return [*scene, self._crash(at + 2.65, "exit", 2, dice.choice((0.1, 2.0)))]
        fate = dice.choice(("reset after", "silence after", "503 executed", "503", "silence before"))
        return [*scene, self._befall(at + 2.66, "c", fate, dice.choice((0.5, 1.5)))]

    def _covered_emergency(self, at: float, where: dict[str, str]) -> list[Happening]:
        """No stop can be placed, and a limit of somebody else rests."""
        full = self._befall(at - 0.1, "s", "-4045", 6.0)
        return [full, self._enter(at, where), self._cover(at + 0.5, where)]


SCENES = ("covered_close", "covered_close", "covered_race", "covered_in_doubt", "covered_emergency")
"""Which scenes are drawn, and how often each."""
