"""How a command ends: exit codes, and the errors that lead to them (contract, section 2)."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """0 done, 1 the service said no, 2 usage or configuration, 3 the service can't be reached."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3


class CommandFailed(Exception):
    """Ends a command; the message says what happened and what to do."""

    code = ExitCode.REFUSED


class ServiceRefused(CommandFailed):
    """The service answered no."""


class UsageFailed(CommandFailed):
    """The command can't work as it was given."""

    code = ExitCode.USAGE


class ServiceUnreachable(CommandFailed):
    """No service answered."""

    code = ExitCode.UNREACHABLE
