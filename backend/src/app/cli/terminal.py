"""Output on whatever terminal there is: a character that it can't show never ends a command.

A command that has traded and then fails while it prints would tell its caller that nothing was done.
"""

from __future__ import annotations

import codecs
import io
import sys

_HANDLER = "tes.shown_instead"
_INSTEAD = {"–": "-", "—": "-", "…": "...", "→": "->", "×": "x", "·": ".", "“": '"', "”": '"', "’": "'"}


def survive_any_encoding() -> None:
    """From now on standard output and standard error show a plain character for each that they can't."""
    codecs.register_error(_HANDLER, _shown_instead)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it is closed; something else where a test listens
            stream.reconfigure(errors=_HANDLER)


def shows_everything() -> bool:
    """Whether standard output can show every character."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return encoding.lower().replace("_", "-").startswith("utf")


def _shown_instead(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_INSTEAD.get(character, "?") for character in text), error.end
