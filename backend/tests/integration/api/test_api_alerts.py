"""A running service whose alert channels hang, refuse, or work."""

from __future__ import annotations

import asyncio
import re

import pytest
from structlog.testing import capture_logs

from app.services.execution.commands import Alert, Severity
from app.services.execution.narration import Narrator
from support.faces import decision, paper_face
from support.hooks import SECRET, loads_apprise, web_hook
from support.patience import PATIENCE_S

pytestmark = loads_apprise


@pytest.mark.long
async def test_while_a_channel_hangs_decisions_are_executed_and_others_are_told() -> None:
    """The hanging channel has the alert in hand for the whole test."""
    with web_hook(hangs=True) as hanging, web_hook(500) as refusing, web_hook() as whole, capture_logs() as logs:
        async with paper_face(TES_ALERT_URLS=f"{hanging.url},{refusing.url},{whole.url}") as face:
            application = face.application
            narrator = Narrator(
                account_id="default", is_paper=True, new_id=application.ids.new, now=application.clock.now
            )
            alert = Alert(Severity.CRITICAL, "late_fill", "an order was executed after all")
            application.trades.record_events((narrator.alert(alert, asset="BTCUSDT"),))
            async with asyncio.timeout(PATIENCE_S):
                while not (hanging.messages and refusing.messages and whole.messages):
                    await asyncio.sleep(0.01)
            executed = (await face.post("/v1/decisions", decision(), wait=20)).json
            assert executed["status"] == "executed"
            assert [result["status"] for result in executed["results"]] == ["protected"]
            shown = (await face.get("/metrics")).body.decode()
    counts = dict(re.findall(r'tes_alerts_total\{channel="(\d)",outcome="sent"\} (\S+)', shown))
    assert counts == {"1": "0.0", "2": "0.0", "3": "1.0"}
    assert whole.titles == ["TES paper CRITICAL default BTCUSDT"]
    assert {line["channel"] for line in logs if line["event"] == "alerts.left_behind"} == {1}
    assert SECRET not in repr(logs)
