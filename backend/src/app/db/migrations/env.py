"""Alembic's entry. Only offline: the script is rendered here and executed by the database's own driver."""

from __future__ import annotations

from alembic import context

context.configure(dialect_name=context.config.get_main_option("dialect"), literal_binds=True)
with context.begin_transaction():
    context.run_migrations()
