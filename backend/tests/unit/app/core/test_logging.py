"""What reaches the log, and what never does."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from app.core.logging import _IN_TEXT, _OURS, _SILENT, configure_logging, redact

SECRET = "0xdeadbeef"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {name: logging.getLogger(name).level for name in (None, *_OURS, *_SILENT)}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("style", ["console", "json"])
def test_secrets_are_hidden_by_name_and_inside_texts(style: str) -> None:
    stream = io.StringIO()
    configure_logging(style, "INFO", stream)  # type: ignore[arg-type]
    log = structlog.get_logger("app.test")
    log.info("a.b", private_key=SECRET, order_id=7, query=f"x=1&signature={SECRET}&y=2", inner={"apiKey": SECRET})
    logging.getLogger("other.library").warning("Authorization: Bearer %s", SECRET)
    try:
        raise ValueError(f"token={SECRET}")
    except ValueError:
        log.exception("c.d")
    written = stream.getvalue()
    assert SECRET not in written
    assert "a.b" in written
    assert "c.d" in written
    assert "x=1&signature=" in written


@pytest.mark.parametrize("style", ["console", "json"])
def test_what_others_wrote_does_not_act_on_the_terminal(style: str) -> None:
    stream = io.StringIO()
    configure_logging(style, "INFO", stream)  # type: ignore[arg-type]
    structlog.get_logger("app.test").info("a.b", reason="\x1b[2Jgone", other="a \x9b2J b", of={"x": "\x1b"})
    logging.getLogger("other.library").warning("said \x1b]0;title\x07")
    assert not set("\x1b\x9b\x07") & set(stream.getvalue())
    assert "gone" in stream.getvalue()


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING"])
def test_what_libraries_say_of_addresses_is_not_written(level: str) -> None:
    """A web hook's path is its password; urllib3 tells it at DEBUG when it is answered, at WARNING when it is not."""
    stream = io.StringIO()
    configure_logging("json", level, stream)
    libraries = [logging.getLogger("urllib3.connectionpool"), logging.getLogger("other.library")]
    libraries[0].warning("Retrying after connection broken: /%s", SECRET)
    for library in libraries:
        library.debug('"POST /%s HTTP/1.1" 404 143', SECRET)
        library.info("Resetting dropped connection: /%s", SECRET)
    structlog.get_logger("app.test").warning("a.b")
    logging.getLogger("aster_sim.live").warning("c.d")
    libraries[1].warning("e.f")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["a.b", "c.d", "e.f"]


def test_json_lines_hold_event_level_logger_and_fields() -> None:
    stream = io.StringIO()
    configure_logging("json", "INFO", stream)
    structlog.get_logger("app.test").info("order.sent", order_id=7)
    structlog.get_logger("app.test").debug("order.detail")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 1
    assert lines[0].items() >= {"event": "order.sent", "level": "info", "logger": "app.test", "order_id": 7}.items()


def test_a_pipe_gets_json_unless_told_otherwise() -> None:
    stream = io.StringIO()
    configure_logging(None, "INFO", stream)
    structlog.get_logger("app.test").info("a.b")
    assert json.loads(stream.getvalue())["event"] == "a.b"


@given(st.lists(st.sampled_from(["token", "Bearer ", "=", ":", " ", "\u2003", "s3cret", ".", "-", "'", "é", "1"])))
def test_no_text_is_too_plain_to_hold_a_secret(parts: list[str]) -> None:
    """What is passed over for its form is what nothing would have been replaced in."""
    text = "".join(parts)
    assert redact(text) == _IN_TEXT.sub(r"\g<name>[hidden]", text)


def test_redaction_keeps_what_is_harmless() -> None:
    value = {"asset": "BTCUSDT", "has_token": True, "client_order_id": "tes.1.e1", "list": ["a", 1]}
    assert redact(value) == value
