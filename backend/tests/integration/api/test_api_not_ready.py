"""A service whose exchange can't be reached stays up, says why, and uses up no decision id (scenarios C3, H4)."""

from __future__ import annotations

import socket
from pathlib import Path

from app.bootstrap import running
from app.core.configuration import load_settings
from support.faces import TOKEN, decision, serving


async def test_before_the_first_reconciliation_decisions_are_refused_and_kept_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    settings = load_settings(
        {
            "TES_VENUE": "testnet",
            "TES_API_TOKEN": TOKEN,
            "TES_DATABASE_URL": f"sqlite:///{tmp_path}/tes.db",
            "TES_ASTER_REST_URL": f"http://127.0.0.1:{closed}",
            "TES_ASTER_WS_URL": f"ws://127.0.0.1:{closed}",
            "TES_ASTER_USER": "0x" + "a" * 40,
            "TES_ASTER_SIGNER": "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A",
            "TES_ASTER_PRIVATE_KEY": "0x" + "1" * 64,
        }
    )
    async with running(settings) as application, serving(application) as face:
        ready = await face.get("/readyz")
        assert (ready.status, ready.json["code"]) == (503, "not_ready")
        assert ready.json["accounts"]["default"]
        assert (await face.get("/healthz")).status == 200
        assert (await face.get("/v1/status")).json["is_ready"] is False
        answer = await face.post("/v1/decisions", {**decision(), "decision_id": "early"})
        assert (answer.status, answer.json["code"]) == (503, "not_ready")
        assert answer.headers["Retry-After"]
        assert (await face.get("/v1/decisions/early")).status == 404
        assert (await face.get("/v1/positions")).json == {"items": [], "next_cursor": None, "as_of": None}
