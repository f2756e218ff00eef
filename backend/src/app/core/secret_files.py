"""Files that hold secrets: their content, and whether somebody else can read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from app.domain.errors import ConfigurationError

_MAXIMUM_BYTES = 64 * 1024
_MOUNTS = (Path("/run/secrets"), Path("/run/credentials"))
"""What a container engine or systemd puts here is for one container or unit, and has the modes that those choose."""
_BY_GROUP = stat.S_IRGRP | stat.S_IWGRP
_BY_ALL = stat.S_IROTH | stat.S_IWOTH


def read_secret(path: Path, label: str) -> tuple[str, list[str]]:
    """The value in a file, and what is wrong with the file's mode; ``label`` is the key that names the file.

    Raises:
        ConfigurationError: it can't be read, or holds no single value.
    """
    try:
        with path.open("rb") as file:
            exposed = exposure(os.fstat(file.fileno()), path, label)
            content = file.read(_MAXIMUM_BYTES + 1)
    except PermissionError:
        raise ConfigurationError(
            f"{label} names the file {path}, which this user may not read: "
            f"chown it to the user that runs the service, and chmod 600 {path}"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{label} names the file {path}, which can't be read ({error.strerror}): give a readable file"
        ) from None
    if len(content) > _MAXIMUM_BYTES or not content.strip():
        raise ConfigurationError(f"{label} names the file {path}, which must hold one value, and is empty or too long")
    try:
        return content.decode().strip(), exposed
    except UnicodeDecodeError:
        raise ConfigurationError(f"{label} names the file {path}, which is not text: give a text file") from None


def exposure(status: os.stat_result, path: Path, label: str) -> list[str]:
    """What is wrong with the owner and the mode of a file that holds a secret, a sentence with the fix each."""
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & _forbidden(status, path):
        return []
    return [f"{label} lies in {path}, which others on this machine can read or change: chmod 600 {path}"]


def _forbidden(status: os.stat_result, path: Path) -> int:
    if any(path.is_relative_to(mount) for mount in _MOUNTS):
        return stat.S_IWOTH
    if status.st_uid == 0 and os.geteuid() != 0:
        return _BY_ALL | stat.S_IWGRP  # how an administrator hands a file to the group of one service
    return _BY_ALL | _BY_GROUP
