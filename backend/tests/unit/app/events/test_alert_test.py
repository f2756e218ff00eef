"""``tes alert test`` says which channel took the message, and never shows an address."""

from __future__ import annotations

from app.events.alerts import send_test


class _Channel:
    def __init__(self, answer: bool | Exception) -> None:
        self._answer = answer

    def notify(self, body: str, title: str) -> bool:
        assert body
        assert title
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def test_each_channel_is_tried_whatever_the_others_do() -> None:
    secret = "json://user:secret@host"
    channels = [_Channel(True), _Channel(ValueError(secret)), _Channel(False), _Channel(True)]
    assert send_test(channels) == [None, "ValueError", "refused", None]
