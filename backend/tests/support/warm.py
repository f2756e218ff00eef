"""``tes`` without the second that an interpreter takes to start: a warm process forks for each command.

Most of a short command's CPU time is the import of libraries. The warm process imports them once for each process of
pytest; a command is a fork of it with its own arguments, environment, folder and streams, and is a process like any
other to who started it: it has an id, a return code, and hears signals. What a fork can't show (what is imported when,
how the installed script starts) is tested with real processes.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import traceback
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

TES = str(Path(sys.executable).with_name("tes"))
_HEAVY = (
    *("app.bootstrap", "app.api.server", "app.db.migrate", "app.cli.main", "app.cli.serve", "app.cli.doctor"),
    *("aster_sim.server", "alembic.command", "uvicorn.protocols.http.httptools_impl", "uvloop", "rich.live"),
)
_SUBREAPER = 36
_LONGEST_ORDER = 1 << 20


class WarmTes(subprocess.Popen[str]):
    """``tes`` with ``arguments``: as ``subprocess.Popen``, of which it takes ``cwd``, ``env`` and the streams."""

    def __init__(self, arguments: tuple[str, ...], **named: Any) -> None:
        super().__init__([TES, *arguments], text=True, **named)

    def _execute_child(self, args: Any, *rest: Any) -> None:  # type: ignore[override]  # the one step that differs
        _, _, _, _, cwd, env, _, _, _, p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *_ = rest
        with Path(os.devnull).open("r+b") as nothing:
            streams = [nothing.fileno() if fd == -1 else fd for fd in (p2cread, c2pwrite, errwrite)]
            order = json.dumps([[str(word) for word in args], str(cwd or Path.cwd()), dict(env or os.environ)])
            self.pid = _warm_process().start(order, streams)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


class _WarmProcess:
    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from support import warm; warm.serve()", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        self._libc = ctypes.CDLL(None)
        atexit.register(self.stop)

    def start(self, order: str, streams: list[int]) -> int:
        """Start a command; its process becomes a child of this one. Returns its id."""
        self._libc.prctl(_SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(self._channel, [order.encode()], streams)
            return int(self._channel.recv(64))
        finally:
            self._libc.prctl(_SUBREAPER, 0, 0, 0, 0)

    def stop(self) -> None:
        """End the warm process: it ends when its channel does."""
        self._channel.close()
        self._process.wait(30)


@cache
def _warm_process() -> _WarmProcess:
    return _WarmProcess()


# --- in the warm process


def serve() -> None:
    """Fork for each order that comes through the channel, until that is closed."""
    for name in _HEAVY:
        importlib.import_module(name)
    channel = socket.socket(fileno=int(sys.argv[1]))
    while True:
        order, streams, _, _ = socket.recv_fds(channel, _LONGEST_ORDER, 3)
        if not order:
            return
        ours, theirs = os.pipe()
        between = os.fork()
        if between == 0:
            # an orphan's parent is the process that asked for it, which can wait for it then
            child = os.fork()
            if child == 0:
                os.close(ours)
                os.close(theirs)
                channel.close()
                _be_tes(streams, *json.loads(order))
            os.write(theirs, str(child).encode())
            os._exit(0)
        os.close(theirs)
        child_id = os.read(ours, 64)
        os.close(ours)
        os.waitpid(between, 0)
        for stream in streams:
            os.close(stream)
        channel.send(child_id)


def _be_tes(streams: list[int], words: list[str], folder: str, environment: dict[str, str]) -> NoReturn:
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        encoding, _, errors = environment.get("PYTHONIOENCODING", "").partition(":")
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, encoding=encoding or "utf-8", errors=errors or None, closefd=False)  # noqa: SIM115
            for number, mode in enumerate(("r", "w", "w"))
        )
        sys.argv = words
        signal.signal(signal.SIGINT, signal.default_int_handler)
        random.seed()
        from app.cli.main import main

        main()
        code = 0
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - as an interpreter would show it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
