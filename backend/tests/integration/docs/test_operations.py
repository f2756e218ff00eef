"""The operations guide knows every alert that the service can raise."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from app.events.alerts.guide import WHAT_TO_DO

ROOT = Path(__file__).parents[4]
SOURCE = ROOT / "backend" / "src" / "app"


def raised_codes() -> set[str]:
    """The code of each ``Alert(severity, code, message)`` in the sources, both of a choice between two."""
    codes = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Alert" and len(node.args) == 3:
                chosen = node.args[1]
                options = [chosen.body, chosen.orelse] if isinstance(chosen, ast.IfExp) else [chosen]
                for option in options:
                    assert isinstance(option, ast.Constant), f"{path}: a code is a constant, so that this test sees it"
                    codes.add(str(option.value))
    return codes


def test_each_alert_has_its_section_and_no_section_is_out_of_date() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^### ([a-z_]+)$", text, re.MULTILINE))
    assert len(described) > 15
    assert described == raised_codes()


def test_what_an_alert_says_to_do_is_its_section_word_for_word() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### ([a-z_]+)\n\n(.*?)(?=\n\n#|\Z)", text, re.DOTALL | re.MULTILINE)
    assert dict(WHAT_TO_DO) == {code: " ".join(body.split()) for code, body in sections}
