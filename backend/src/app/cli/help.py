"""How help looks: flags without a type, since they take no value, and paragraphs that fit any width."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup, TyperOption


class HelpfulGroup(TyperGroup):
    """A group whose help, and that of its commands, is dressed for people."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the group's own help."""
        _dress(self, ctx)
        super().format_help(ctx, formatter)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name; None when there is none."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _dress(command, ctx)
        return command


def _dress(command: Any, ctx: Any) -> None:
    for parameter in command.get_params(ctx):
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
    if command.help:
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in command.help.split("\n\n"))
