"""A process that reads for those who only look: lists, and streams that catch up.

To decode and spell a page of trades takes half a second of an interpreter, and an interpreter runs one thread at a
time: in the process that trades, it would be taken from orders and from the lease. This process has a reading
connection and nothing else, makes way for trading on a busy machine, is the first to go when memory is short, and is
started again when it is gone. It ends when its pipe does, however the process that trades ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, TypeVar

import structlog

from app.db.port import OpenReader, Reader, Work
from app.domain.errors import InvariantBroken, StoreUnavailable

T = TypeVar("T")

ANSWER_TIMEOUT_S = 30.0
"""For one piece of work, the start of the process included; then it counts as lost."""
_END_TIMEOUT_S = 5.0
_NICENESS = 10
_EXPENDABLE = "500"
"""Of the scale by which the kernel chooses what to end, from -1000 to 1000."""
_LAUNCH = (
    "import sys; from multiprocessing.connection import Connection; pipe = Connection(int(sys.argv[1])); "
    "sys.path[:] = pipe.recv(); from app.db.reader_process import serve; serve(pipe)"
)

_log = structlog.get_logger(__name__)


class ReaderProcess:
    """Runs work in the process, one piece at a time. It blocks, and belongs to one thread."""

    def __init__(self, open_reader: OpenReader) -> None:
        self._open_reader = open_reader
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def run(self, work: Work[T]) -> T:
        """What ``work`` makes of a reader in the process.

        Raises:
            StoreUnavailable: the process ended or fell silent, or its database did not answer; what ``work`` raises.
        """
        is_fresh = self._pipe is None
        try:
            is_done, answer = self._ask(work)
        except (OSError, EOFError, TimeoutError, pickle.UnpicklingError) as error:
            self.close()
            _log.warning("store.reader_lost", reason=f"{type(error).__name__}: {error}")
            if is_fresh or isinstance(error, TimeoutError):
                raise StoreUnavailable("the process that reads for lists and streams ended: ask again") from None
            return self.run(work)  # it may have been gone for long, and a read can be made again
        if not is_done:
            raise answer
        return answer  # type: ignore[no-any-return]  # what the work returned

    def close(self) -> None:
        """End the process."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _ask(self, work: Work[Any]) -> tuple[bool, Any]:
        pipe = self._pipe or self._start()
        pipe.send(work)
        if not pipe.poll(ANSWER_TIMEOUT_S):
            if self._process is not None:
                self._process.kill()
            raise TimeoutError(f"no answer for {ANSWER_TIMEOUT_S:g} s")
        is_done, answer = pipe.recv()
        return is_done, answer

    def _start(self) -> Connection:
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 — our own interpreter, and words of ours
                [sys.executable, "-c", _LAUNCH, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=_without_secrets(os.environ),
            )
        self._pipe.send(sys.path)
        self._pipe.send(self._open_reader)
        return self._pipe


def _without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Our settings may hold keys and tokens, and a reader needs none of them."""
    return {name: value for name, value in environ.items() if not name.startswith("TES_")}


def serve(pipe: Connection) -> None:
    """The process: answer until the pipe ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the one that trades, which may still be asked
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
        Path("/proc/self/oom_score_adj").write_text(_EXPENDABLE)
    reader: Reader | None = None
    try:
        open_reader: OpenReader = pipe.recv()
        while True:
            work: Work[Any] = pipe.recv()
            try:
                if reader is None:
                    reader = open_reader()
                answer = True, work(reader)
            except Exception as error:  # noqa: BLE001 — supervises the work: the one who asked gets the error
                answer = False, _portable(error)
            pipe.send(answer)
    except (EOFError, OSError):
        return
    finally:
        if reader is not None:
            reader.close()


def _portable(error: Exception) -> Exception:
    """The error, or what can be said of it when it can't be pickled."""
    try:
        return pickle.loads(pickle.dumps(error))  # type: ignore[no-any-return]  # noqa: S301 — our own, just made
    except Exception:  # noqa: BLE001 — whatever an error's own class does
        return InvariantBroken(f"{type(error).__name__}: {error}")
