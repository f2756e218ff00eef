"""PostgreSQL keeps each text in its files as it is: nothing hides from ``support.secret_watch``."""

from __future__ import annotations

from secrets import token_hex

import psycopg
import pytest

from support.postgres import MIGRATED, PostgresServer
from support.secrecy import Secrets


@pytest.mark.parametrize("is_schema", [True, False], ids=["schema", "database"])
def test_a_secret_in_a_long_text_is_found(postgres: PostgresServer, *, is_schema: bool) -> None:
    planted = token_hex(20)
    url = postgres.new_tables() if is_schema else postgres.new_database(MIGRATED)
    long = f"{'a text that repeats itself, ' * 200}{planted}{' and again' * 200}"
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO flags (key, value) VALUES ('long', %s)", [long])
    wanted = Secrets({"planted": planted})
    assert any(wanted.found_in_file(path) for path in (postgres.folder / "data").rglob("*") if path.is_file())
