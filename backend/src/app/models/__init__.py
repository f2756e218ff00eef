"""The tables, in SQLAlchemy Core: the source of every statement and of the migrations."""

from app.db.event_log import counters, events
from app.db.metadata import metadata
from app.models.decisions import decisions
from app.models.flags import flags
from app.models.trades import adjustments, fills, legs, orders, trades

__all__ = ["adjustments", "counters", "decisions", "events", "fills", "flags", "legs", "metadata", "orders", "trades"]
