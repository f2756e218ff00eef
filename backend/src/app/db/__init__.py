"""The database: a port that takes whole units of work, and what implements it. Knows no table but the event log's."""
