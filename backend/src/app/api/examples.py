"""Examples in the API's description. A test sends the requests and holds the answers against their schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DECISION: Mapping[str, Any] = {
    "decision_id": "2026-11-22T10:15:00Z-btc",
    "decisions": [
        {
            "asset": "BTCUSDT",
            "action": "buy",
            "allocation_usd": 1000,
            "leverage": 10,
            "tp_price": 99000,
            "sl_price": 94000,
            "rationale": "Breakout above the range",
            "confidence": 78,
        }
    ],
}

RESULT: Mapping[str, Any] = {
    "decision_id": "2026-11-22T10:15:00Z-btc",
    "account_id": "default",
    "is_paper": True,
    "status": "executed",
    "success": True,
    "received_at": "2026-11-22T10:15:00.104000Z",
    "completed_at": "2026-11-22T10:15:00.112000Z",
    "results": [
        {
            "asset": "BTCUSDT",
            "action": "buy",
            "status": "protected",
            "success": True,
            "trade_id": "1m89j1vp88r0vax282cb",
            "side": "long",
            "requested_quantity": "0.010",
            "filled_quantity": "0.010",
            "fill_price": "96012.4",
            "leverage": 10,
            "requested_leverage": 10,
            "orders": {
                "entry": {"client_order_id": "tes.1m89j1vp88r0vax282cb.e1", "order_id": 123, "status": "FILLED"},
                "take_profit": {"client_order_id": "tes.1m89j1vp88r0vax282cb.t1", "order_id": 124, "status": "NEW"},
                "stop_loss": {"client_order_id": "tes.1m89j1vp88r0vax282cb.s1", "order_id": 125, "status": "NEW"},
                "close": None,
            },
            "slippage_bps": "1.2",
            "commission": "0.33",
            "commission_asset": "USDT",
            "timings_ms": {"received_to_sent": 1.1, "sent_to_filled": 4.0, "filled_to_protected": 2.3},
            "error": None,
        }
    ],
}
