"""Alembic's entry. Only offline: the script is rendered here and executed by the database's own driver."""

from __future__ import annotations

from alembic import context

# the transaction is the executor's: all of the script, or nothing
context.configure(dialect_name=context.config.get_main_option("dialect"), literal_binds=True, transactional_ddl=False)
with context.begin_transaction():
    context.run_migrations()
