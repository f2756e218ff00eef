"""Logs: constant dotted event names with ids, for people on a terminal and as JSON elsewhere.

Whatever is named like a key, a token, a secret or a signature is replaced before it is written, and so is what looks
like one inside a text. Records of other libraries go through the same door.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, Literal, TextIO

import structlog
from structlog.types import Processor

from app.core.plain_text import harmless

_HIDDEN = "[hidden]"
_NAMES = re.compile(r"key|token|secret|signature|password|passphrase|authorization|credential|cookie", re.IGNORECASE)
_IN_TEXT = re.compile(
    r"(?P<name>(?:signature|token|secret|password|listenkey|api_?key|private_?key)[\"']?\s*[=:]\s*[\"']?|bearer\s+)"
    r"[^\s&\"',;)}\]]+",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"[\w.+-]*")
"""A text of this form has no room for a name and its value; most texts of a line are numbers, ids and names."""
_OURS = ("app", "aster_sim")
"""Whose lines are written from the wished level on. Libraries tell of addresses and headers, which hold secrets that no
pattern knows, so only their warnings are."""
_SILENT = ("urllib3",)
"""Its warnings name the address: the web hook of an alert channel, whose path is its password."""


def redact(value: Any, name: str = "") -> Any:
    """Return ``value`` without secrets, judged by ``name`` and by what texts inside it look like."""
    if name and value is not None and not isinstance(value, bool) and _names_a_secret(name):
        return _HIDDEN
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else _IN_TEXT.sub(rf"\g<name>{_HIDDEN}", value)
    if isinstance(value, dict):
        return {key: redact(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value


@lru_cache(maxsize=1024)
def _names_a_secret(name: str) -> bool:
    return _NAMES.search(name) is not None


def _redactor(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in fields:
        if not name.startswith("_"):
            fields[name] = redact(fields[name], name)
    return fields


def _for_a_terminal(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in fields.items():
        if isinstance(value, str):
            fields[name] = harmless(value)
    return fields


def configure_logging(
    style: Literal["console", "json"] | None = None, level: str = "INFO", stream: TextIO | None = None
) -> None:
    """Send every log line of the process to ``stream``.

    Args:
        style: ``console`` or ``json``; None chooses console on a terminal and JSON elsewhere.
        level: a level name of the standard library.
        stream: standard error unless given.
    """
    output = stream or sys.stderr
    is_console = style == "console" or (style is None and output.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor = structlog.processors.JSONRenderer(default=str)
    if is_console:
        renderer = structlog.dev.ConsoleRenderer(colors=output.isatty())
    tail: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,  # before the redactor: a traceback's text is looked through as well
        _redactor,
        *([_for_a_terminal] if is_console else []),
        renderer,
    ]
    handler = logging.StreamHandler(output)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=tail))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelName(level)))
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
