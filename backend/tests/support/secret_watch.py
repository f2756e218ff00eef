"""Grep a whole test run for secrets: a pytest plugin that is always on (``SECURITY.md``).

It notes each secret that a test hands to the service, as a setting, as an account's credentials or in the environment
of a command, and looks for all of them in what the tests print and log, in what commands say, in what HTTP and streams
answer, and in every temporary file: databases, backups, logs and crash output, and PostgreSQL's whole folder. A secret
that is found fails the run; the report names what kind it is, which test gave it and where it was found, never the
secret.

Not looked at are the text of a failed test, which fails the run anyway and quotes the test's own source, what
``tes sim`` says, and what is there to hold a secret: see ``_INPUT``, ``_TOLD`` and :meth:`Watch.except_file`.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import tempfile
import tomllib
from asyncio.subprocess import SubprocessStreamProtocol
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import aiohttp
import pytest
from pydantic import SecretStr

from app.core import configuration
from app.core.configuration import DEFAULT_FILE, PREFIX, SECRETS
from app.integrations.aster.auth import V1Credentials, V3Credentials
from aster_sim.credentials import AccountCredentials
from support.secrecy import SHORTEST_SECRET, Secrets

LEAST_VARIETY = 8
"""Different characters that a secret must have: a placeholder like ``kkkk…`` would be found by chance."""
_SINGLE = SECRETS - {"api_tokens"}
"""Settings that are a secret as a whole. The lines of ``api_tokens`` hold hashes, which open nothing."""
_FILE = "_file"
_ENOUGH_HEARD = 1 << 20
_OVERLAP = 4096
_OUTPUT_KEY = "secrets found"
_INPUT = ".toml"
"""What the name of a configuration file ends with: an operator writes secrets into it, and the service writes none."""
_NEW_ACCOUNT = "/sim/accounts"
"""Where the simulated exchange makes an account, and answers with its keys."""
_NOTE = ".service.json"
"""How the name of a running service's note to the command line ends."""
_TOLD = re.compile(rb"(?m)(?:^API token +|#token=|^token +|\"token\": *\")([0-9a-f]{48})\b")
"""Where a token that the service or ``tes token`` made is told: on stdout, and in the note to the command line."""


class Watch:
    """What is looked for, and where it was found."""

    def __init__(self) -> None:
        self.secrets = Secrets()
        self.leaks: dict[str, None] = {}
        self.test = "the session"
        """The test that runs, without its parameters."""
        self.base: Path | None = None
        """The folder of all temporary files."""
        self._excepted: set[Path] = set()
        self._heard: defaultdict[str, bytearray] = defaultdict(bytearray)

    # --- what is secret

    def give(self, kind: str, secret: str) -> None:
        """Look for a secret from now on, unless it is one that chance would find."""
        self._add(f"{kind} given in {self.test}", secret)

    def give_address(self, kind: str, address: str) -> None:
        """Look for the secrets in the address of an alert channel; some have one where others have a host."""
        try:
            parts = urlsplit(address)
        except ValueError:
            return
        values = [value for _, value in parse_qsl(parts.query)]
        host = parts.hostname or ""
        topic = host if "." not in host and ":" not in host else ""
        for part in (topic, parts.username, parts.password, *parts.path.split("/"), *values):
            self.give(kind, unquote(part or ""))

    def give_setting(self, name: str, value: str) -> None:
        """Look for the secrets in a setting, if it is one that has any."""
        if name in _SINGLE:
            self.give(name, value)
        elif name == "database_url":
            self._give_database(name, value)
        elif name == "alert_urls":
            for address in value.split(","):
                self.give_address(name, address.strip())

    def _give_database(self, kind: str, url: str) -> None:
        """Look for the passwords in a database's URL, also in one that is refused."""
        rest = url.partition("://")[2]
        for password in (rest.rpartition("@")[0].partition(":")[2], *re.findall(r"password=([^&]*)", rest)):
            self.give(kind, password)
            self.give(kind, unquote(password))

    def give_environment(self, environment: Mapping[str, str], folder: Path) -> None:
        """Look for the secrets that a command finds in its environment and in its ``folder``."""
        for name, value in environment.items():
            if name.startswith(PREFIX):
                setting = name.removeprefix(PREFIX).lower()
                if setting.endswith(_FILE):
                    self.except_file(folder / value)
                    value = _text(folder / value)
                self.give_setting(setting.removesuffix(_FILE), value.strip())
        try:
            document = tomllib.loads(_text(folder / DEFAULT_FILE))
        except tomllib.TOMLDecodeError:
            return
        accounts = document.pop("accounts", {})
        for table in (document, *(accounts.values() if isinstance(accounts, dict) else ())):
            for name, value in table.items() if isinstance(table, dict) else ():
                for one in value if isinstance(value, list) else [value]:
                    self.give_setting(name, str(one))

    def _add(self, name: str, secret: str) -> None:
        if len(secret) >= SHORTEST_SECRET and len(set(secret.lower())) >= LEAST_VARIETY:
            self.secrets.add(name, secret)

    # --- where it may be

    def except_file(self, path: Path) -> None:
        """Don't look into a file that is there to hold a secret."""
        self._excepted.add(path.resolve())

    def except_files_of_the_exchange(self, command: Sequence[Any], folder: Path, output: Any) -> None:
        """Don't look into what ``tes sim`` reads its keys from and tells them in."""
        words = [str(word) for word in command]
        if "sim" in words:
            for option, value in pairwise(words):
                if option == "--accounts":
                    self.except_file(folder / value)
            if isinstance(getattr(output, "name", None), str):
                self.except_file(Path(output.name))

    # --- where it must not be

    def hear(self, place: str, content: str | bytes) -> None:
        """Look for secrets in ``content`` at the end of the test, or sooner if it is much."""
        heard = self._heard[place]
        heard += content.encode(errors="surrogateescape") if isinstance(content, str) else content
        if len(heard) > _ENOUGH_HEARD:
            self._search(place, heard)
            del heard[:-_OVERLAP]

    def hear_output(self, command: Sequence[Any], stream: str, content: str | bytes | None) -> None:
        """Look for secrets in what a command said; ``tes sim`` says its keys, because that is how one gets them."""
        words = [str(word) for word in command]
        if content and "sim" not in words:
            shown = [Path(words[0]).name, *[word for word in words[1:] if re.fullmatch("[a-z]{2,12}", word)][:2]]
            self.hear(f"{stream} of {' '.join(shown)}", content)

    def look(self) -> None:
        """Look for secrets in all that was heard since the last time."""
        heard, self._heard = self._heard, defaultdict(bytearray)  # threads of a test may still say something
        for place, content in heard.items():
            self._search(place, content)

    def look_below(self, folder: Path, named: str = "") -> None:
        """Look for secrets in every file of a folder."""
        files = {path: named + path.relative_to(folder).as_posix() for path in _files(folder)}
        notes = {path: path.read_bytes() for path in files if path.name.endswith(_NOTE)}
        for path, content in notes.items():
            notes[path] = self._without_told(files[path], content)  # all of them, before any other file is read
        for path, place in files.items():
            if path in notes:
                self._find(place, notes[path])
            elif path.suffix != _INPUT and path not in self._excepted:
                self._tell(place, self.secrets.found_in_file(path))

    def _search(self, source: str, content: bytes | bytearray) -> None:
        place = f"{source} in {self.test}"
        self._find(place, self._without_told(place, content) if source.startswith("stdout") else content)

    def _without_told(self, place: str, content: bytes | bytearray) -> bytes:
        for token in _TOLD.findall(content):
            self._add(f"a token told in {place}", token.decode())
        return _TOLD.sub(b"", content)

    def _find(self, place: str, content: bytes | bytearray) -> None:
        self._tell(place, self.secrets.found_in(content))

    def _tell(self, place: str, names: list[str]) -> None:
        for name in names:
            line = f"{name}: {place}"
            self.leaks[line if not self.secrets.found_in(line.encode()) else f"{name}: in a name of a place"] = None


WATCH = Watch()


def _files(folder: Path) -> Iterator[Path]:
    for at, _, names in os.walk(folder):
        for path in (Path(at, name) for name in names):
            if path.is_file() and not path.is_symlink():
                if not os.access(path, os.R_OK):
                    path.chmod(0o600)  # a test saw what happens when nobody may read it
                yield path


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


# --- ears


def _note_what_is_given(patch: pytest.MonkeyPatch) -> None:
    note_string, note_command = SecretStr.__init__, subprocess.Popen.__init__
    read_secret = configuration.read_secret

    def string(self: SecretStr, secret_value: str) -> None:
        note_string(self, secret_value)
        if "://" in secret_value:
            WATCH.give_address("an address", secret_value)
        else:
            WATCH.give("a setting", secret_value)

    def command(self: Any, args: Any, *rest: Any, **named: Any) -> None:
        environment, folder = named.get("env"), Path(named.get("cwd") or ".")
        WATCH.give_environment(os.environ if environment is None else environment, folder)
        WATCH.except_files_of_the_exchange(_words(args), folder, named.get("stdout"))
        note_command(self, args, *rest, **named)

    def read(path: Path, label: str) -> tuple[str, list[str]]:
        WATCH.except_file(path)
        return read_secret(path, label)

    def credentials(kind: type) -> None:
        made = kind.__init__

        def init(self: Any, *args: Any, **named: Any) -> None:
            made(self, *args, **named)
            for name in ("private_key", "api_key", "api_secret"):
                WATCH.give(name, getattr(self, name, ""))

        patch.setattr(kind, "__init__", init)

    patch.setattr(SecretStr, "__init__", string)
    patch.setattr(subprocess.Popen, "__init__", command)
    patch.setattr(configuration, "read_secret", read)
    for kind in (AccountCredentials, V3Credentials, V1Credentials):
        credentials(kind)


def _hear_what_is_said(patch: pytest.MonkeyPatch) -> None:
    communicate, piped = subprocess.Popen.communicate, SubprocessStreamProtocol.pipe_data_received
    read, receive = aiohttp.ClientResponse.read, aiohttp.ClientWebSocketResponse.receive
    open_connection, cleanup = asyncio.open_connection, tempfile.TemporaryDirectory.cleanup

    def communicated(self: Any, *args: Any, **named: Any) -> Any:
        said = communicate(self, *args, **named)
        for stream, content in zip(("stdout", "stderr"), said, strict=True):
            WATCH.hear_output(_words(self.args), stream, content)
        return said

    def pipe_data_received(self: Any, fd: int, data: bytes) -> None:
        process = self._transport.get_extra_info("subprocess")
        WATCH.hear_output(_words(process.args), {1: "stdout", 2: "stderr"}[fd], data)
        piped(self, fd, data)

    async def answered(self: aiohttp.ClientResponse) -> bytes:
        body = await read(self)
        if self.url.path != _NEW_ACCOUNT:
            WATCH.hear(f"the answer to {self.method} {self.url.path}", repr(self.headers).encode() + body)
        return body

    async def received(self: aiohttp.ClientWebSocketResponse, *args: Any, **named: Any) -> aiohttp.WSMessage:
        message = await receive(self, *args, **named)
        WATCH.hear(f"the stream {self._response.url.path}", f"{message.data} {message.extra}\n")
        return message

    async def opened(*args: Any, **named: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await open_connection(*args, **named)
        feed = reader.feed_data

        def fed(data: bytes) -> None:
            WATCH.hear("the answers to raw requests", data)
            feed(data)

        reader.feed_data = fed
        return reader, writer

    def cleaned_up(self: tempfile.TemporaryDirectory[str]) -> None:
        kind = re.sub("[^-]*$", "", Path(self.name).name)
        WATCH.look_below(Path(self.name), f"{kind}* of {WATCH.test}/")
        cleanup(self)

    patch.setattr(subprocess.Popen, "communicate", communicated)
    patch.setattr(tempfile.TemporaryDirectory, "cleanup", cleaned_up)
    patch.setattr(SubprocessStreamProtocol, "pipe_data_received", pipe_data_received)
    patch.setattr(aiohttp.ClientResponse, "read", answered)
    patch.setattr(aiohttp.ClientWebSocketResponse, "receive", received)
    patch.setattr(asyncio, "open_connection", opened)


def all_said_by(application: Any) -> Any:
    """An ASGI application of which everything is heard that it sends, whoever asks."""

    async def heard(scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: dict[str, Any]) -> None:
            head = repr(message.get("headers", "")).encode()
            text = f"{message.get('text', '')}{message.get('reason', '')}".encode()
            WATCH.hear(
                f"the answer to {scope.get('method', 'a follower of')} {scope.get('path')}",
                head + text + message.get("body", b""),
            )
            await send(message)

        await application(scope, receive, sent)

    return heard


def _words(arguments: Any) -> Sequence[Any]:
    return [arguments] if isinstance(arguments, str | bytes | os.PathLike) else arguments


# --- hooks, of a session; with pytest-xdist, of the controller's and of each worker's


@pytest.fixture(scope="session", autouse=True)
def _temporary_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    WATCH.base = tmp_path_factory.getbasetemp()


def pytest_configure(config: pytest.Config) -> None:
    """Begin to listen."""
    patch = pytest.MonkeyPatch()
    _note_what_is_given(patch)
    _hear_what_is_said(patch)
    config.add_cleanup(patch.undo)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Know which test runs, and look at what it made others say."""
    WATCH.test = item.nodeid.partition("[")[0]
    done = yield
    WATCH.look()
    WATCH.test = "the session"
    return done


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[Any]:
    """Hear what was captured during a test; the report of its end has it all."""
    report = yield
    if report.when == "teardown":
        for title, content in report.sections:
            WATCH.hear(title.lower(), content)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker found."""
    WATCH.leaks |= dict.fromkeys(getattr(node, "workeroutput", {}).get(_OUTPUT_KEY, ()))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look at every file that is left, and fail the run if anything was found."""
    WATCH.look()
    if WATCH.base is not None:
        WATCH.look_below(WATCH.base)
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_OUTPUT_KEY] = list(WATCH.leaks)
    if WATCH.leaks and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was found."""
    if WATCH.leaks:
        terminalreporter.section("secrets where they must not be", red=True)
        for line in sorted(WATCH.leaks):
            terminalreporter.line(line)
