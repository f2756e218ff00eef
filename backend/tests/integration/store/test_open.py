"""Opening: modes, migrations, and one clear sentence for what can't be opened."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest
from sqlalchemy.schema import CreateIndex, CreateTable

from app.db.executors import ThreadExecutor
from app.db.migrate import upgrade
from app.db.migrations import HEAD
from app.db.sqlite import SqliteDatabase
from app.db.statements import POSTGRESQL, SQLITE
from app.domain.errors import ConfigurationError, StoreUnavailable
from app.models import metadata
from support.postgres import PostgresServer


async def open_and_close(path: Path) -> None:
    database = SqliteDatabase(f"sqlite:///{path}", ThreadExecutor())
    await database.start()
    await database.close()


async def test_a_new_database_is_private_and_its_folder_is_made(tmp_path: Path) -> None:
    """Nobody else on the machine reads trades; the journal beside the file neither."""
    path = tmp_path / "some" / "folder" / "tes.db"
    database = SqliteDatabase(f"sqlite:///{path}", ThreadExecutor())
    await database.start()
    modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert len(list(path.parent.iterdir())) == 3
    assert modes == {0o600}
    await database.close()


async def test_durability_is_not_negotiable(sqlite: SqliteDatabase) -> None:
    """WAL with a sync at each commit, and foreign keys enforced."""
    assert sqlite._writer is not None
    connection = sqlite._writer._connection
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2
    assert connection.pragma("foreign_keys") == 1


async def test_a_temporary_database_leaves_nothing_behind() -> None:
    """``:memory:`` works as everywhere, on a file that is gone at the end."""
    database = SqliteDatabase("sqlite:///:memory:", ThreadExecutor())
    await database.start()
    path = database._path
    assert path.exists()
    await database.close()
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda path: path.mkdir(), "this is a folder"),
        (lambda path: path.write_bytes(b"no database at all " * 100), "no SQLite database"),
        (lambda path: path.symlink_to(path.parent / "nowhere" / "tes.db"), "check the path"),
    ],
)
async def test_what_can_not_be_opened_is_named_with_the_fix(path: Path, prepare: Any, said: str) -> None:
    """The message holds the path and what to do; nothing is left running."""
    prepare(path)
    with pytest.raises(StoreUnavailable, match=said) as raised:
        await open_and_close(path)
    assert str(path) in str(raised.value)


async def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    """The parent of the path can't be made."""
    (tmp_path / "data").write_text("")
    with pytest.raises(StoreUnavailable, match="check the path and its rights"):
        await open_and_close(tmp_path / "data" / "tes.db")


def make_read_only(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0o400)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
async def test_a_file_without_rights_is_named(path: Path) -> None:
    """A read-only file is no place for a record."""
    make_read_only(path)
    with pytest.raises(StoreUnavailable, match="right"):
        await open_and_close(path)


def structure(connection: apsw.Connection) -> dict[str, Any]:
    """Everything that the schema says, whatever its spelling."""
    tables = [
        row[0]
        for row in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'alembic%'"
        )
    ]
    found: dict[str, Any] = {}
    for table in tables:
        indexes = sorted(
            (
                name,
                bool(unique),
                origin,
                bool(partial),
                tuple(connection.execute(f"SELECT name FROM pragma_index_info('{name}')").fetchall()),
            )
            for _, name, unique, origin, partial in connection.execute(f"PRAGMA index_list('{table}')")
        )
        found[table] = {
            "columns": connection.execute(f"PRAGMA table_xinfo('{table}')").fetchall(),
            "indexes": indexes,
            "foreign_keys": connection.execute(f"PRAGMA foreign_key_list('{table}')").fetchall(),
            "strict": connection.execute(f"SELECT strict FROM pragma_table_list('{table}')").fetchall(),
            "partial": connection.execute(
                f"SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = '{table}' AND sql LIKE '%WHERE%'"
            ).fetchall(),
        }
    return found


def test_migrations_build_exactly_the_tables_of_the_metadata(path: Path, tmp_path: Path) -> None:
    """A column that a model has and no migration adds is found here, not in production."""
    assert upgrade(f"sqlite:///{path}") == HEAD
    migrated, made = apsw.Connection(str(path)), apsw.Connection(str(tmp_path / "made.db"))
    for table in metadata.sorted_tables:
        made.execute(str(CreateTable(table).compile(dialect=SQLITE)))
        for index in table.indexes:
            made.execute(str(CreateIndex(index).compile(dialect=SQLITE)))
    assert structure(migrated) == structure(made)
    assert set(structure(migrated)) == set(metadata.tables)
    migrated.close()
    made.close()


def script(*revisions: str) -> str:
    """What Alembic would run to get from one revision to the next, or to the first one."""
    from alembic import command
    from alembic.config import Config

    from app.db import migrate

    config = Config(output_buffer=StringIO())
    config.set_main_option("script_location", str(migrate._MIGRATIONS))
    config.set_main_option("dialect", "sqlite")
    command.upgrade(config, ":".join(revisions), sql=True)
    text: str = config.output_buffer.getvalue()
    return text


def test_a_database_of_the_first_version_is_brought_up_to_date_with_what_it_holds(path: Path, tmp_path: Path) -> None:
    """Each later revision adds to the ones before."""
    old = apsw.Connection(str(path))
    old.execute(script("0001")).fetchall()
    old.execute("INSERT INTO flags (key, value) VALUES ('halt:default', '{}')")
    old.close()
    upgrade(f"sqlite:///{path}")
    upgrade(f"sqlite:///{tmp_path / 'new.db'}")
    upgraded, made = apsw.Connection(str(path)), apsw.Connection(str(tmp_path / "new.db"))
    assert structure(upgraded) == structure(made)
    assert upgraded.execute("SELECT key FROM flags").fetchall() == [("halt:default",)]
    upgraded.close()
    made.close()


def test_head_is_the_newest_migration() -> None:
    """The constant that spares the import of Alembic is right, and the revisions are one line."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from app.db import migrate

    config = Config()
    config.set_main_option("script_location", str(migrate._MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_upgrading_again_changes_nothing(path: Path) -> None:
    """``tes db upgrade`` can be run at any time."""
    upgrade(f"sqlite:///{path}")
    before = path.read_bytes()
    assert upgrade(f"sqlite:///{path}") == HEAD
    assert path.read_bytes() == before


def test_a_temporary_database_can_not_be_upgraded() -> None:
    """There is nothing to keep."""
    with pytest.raises(ConfigurationError, match="TES_DATABASE_URL"):
        upgrade("sqlite:///:memory:")


async def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    """An old program never writes into a schema that it does not know."""
    upgrade(f"sqlite:///{path}")
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreUnavailable, match=f"version 9999, this program knows up to {HEAD}"):
        await open_and_close(path)


def test_an_up_to_date_database_opens_without_alembic(path: Path) -> None:
    """Start-up is one cheap read (lab.md on import cost); nothing ever loads a second SQLite."""
    upgrade(f"sqlite:///{path}")
    program = (
        "import asyncio, sys\n"
        "from app.db.executors import ThreadExecutor\n"
        "from app.db.sqlite import SqliteDatabase\n"
        "async def main():\n"
        "    database = SqliteDatabase(sys.argv[1], ThreadExecutor())\n"
        "    await database.start()\n"
        "    await database.close()\n"
        "asyncio.run(main())\n"
        "print(sorted({'alembic', 'sqlite3', '_sqlite3'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"sqlite:///{path}"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def postgres_structure(url: str) -> dict[str, Any]:
    """Everything that a server's catalogue says about our tables."""
    queries = {
        "columns": "SELECT table_name, column_name, data_type, is_nullable, column_default LIKE 'nextval(%'"
        " FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
        " ORDER BY 1, 2",
        "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        " ORDER BY 1",
        "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype <> 'n'"
        " AND conrelid <> to_regclass('alembic_version') ORDER BY 1, 2",
    }
    with psycopg.connect(url) as connection:
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


def test_migrations_build_the_same_tables_on_postgresql(postgres: PostgresServer) -> None:
    """The one set of migrations is right for both databases."""
    made, migrated = postgres.new_database(), postgres.new_database()
    assert upgrade(migrated) == HEAD
    assert upgrade(migrated) == HEAD
    with psycopg.connect(made) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num text)")
        for table in metadata.sorted_tables:
            connection.execute(str(CreateTable(table).compile(dialect=POSTGRESQL)))
            for index in table.indexes:
                connection.execute(str(CreateIndex(index).compile(dialect=POSTGRESQL)))
    assert postgres_structure(migrated) == postgres_structure(made)
