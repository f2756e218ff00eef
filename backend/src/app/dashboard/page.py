"""The status page at ``/``: one file, no scripts from elsewhere. It holds no data; a token fetches that."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

_HTML = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")


def _source(tag: str) -> str:
    """The policy's name of the page's own ``tag``: nothing else of that kind may run."""
    match = re.search(rf"<{tag}>(.*?)</{tag}>", _HTML, re.DOTALL)
    content = "" if match is None else match[1]
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_source('script')}; style-src {_source('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> HTMLResponse:
    """The page; the same for everybody."""
    return HTMLResponse(_HTML, headers=_HEADERS)
