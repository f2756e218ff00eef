"""Alembic migrations. ``HEAD`` is the newest revision: an up-to-date database is recognised without Alembic."""

HEAD = "0011"
