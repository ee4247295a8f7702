"""Files that other users of this machine can't interfere with: nothing is written or read through their links.

Rules kept here:

- A file is created under a new name (`O_EXCL`) and then put in its place whole.
- A private folder is opened once and then checked (owner, mode, not a link). Everything goes through that descriptor,
  so the folder that was checked is the one that is used.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from runtime.errors import ParadeError

LONGEST_BYTES = 64 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NotOursError(Exception):
    """A file or folder is not safe to use; the text says why, after its name."""


@contextmanager
def private_folder(path: Path, *, make: bool) -> Iterator[int]:
    """A folder that is ours alone, as a descriptor. NotOursError; OSError when it isn't there or can't be made."""
    if make:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
    try:
        folder = os.open(path, _FOLDER)
    except OSError as problem:
        if problem.errno in (errno.ENOTDIR, errno.ELOOP):  # Linux says the first of a link, too
            raise NotOursError("is no folder, or a symbolic link") from None
        raise
    try:
        _check(os.fstat(folder), 0o077)
        yield folder
    finally:
        os.close(folder)


def read_private(folder: int, name: str) -> str:
    """The text of a file that only we can have written. NotOursError; OSError when it is not there."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as problem:
        if name in os.listdir(folder):
            raise NotOursError(f"can't be opened, or is a symbolic link ({problem.strerror})") from None
        raise
    with open(file, "rb") as opened:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise NotOursError("is not a regular file")
        _check(found, 0o022)
        return opened.read(LONGEST_BYTES).decode()


def write_private(folder: int, name: str, text: str) -> None:
    """Put a file that only we can read into the folder, whole."""
    partial = f".{name}.{secrets.token_hex(8)}"
    file = os.open(partial, _NEW, 0o600, dir_fd=folder)
    try:
        with open(file, "w", encoding="utf-8") as opened:
            opened.write(text)
        os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(partial, dir_fd=folder)
        raise


@contextmanager
def written_whole(path: Path) -> Iterator[IO[str]]:
    """A file that the user named: whole when the context ends well, otherwise as it was (or not there).

    ParadeError when it can't be written, or is not a regular file.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(path.lstat().st_mode):
                raise ParadeError(f"can't write {path}: it is not a regular file")
        file = os.open(partial, _NEW, 0o666)
        try:
            with open(file, "w", encoding="utf-8") as opened:
                yield opened
            partial.replace(path)
        except BaseException:
            partial.unlink()
            raise
    except OSError as problem:
        raise ParadeError(f"can't write {path}: {problem.strerror}") from None


def _check(found: os.stat_result, forbidden: int) -> None:
    if found.st_uid != os.getuid():
        raise NotOursError(f"belongs to another user (id {found.st_uid})")
    if found.st_mode & forbidden:
        others = "others can write to it" if forbidden == 0o022 else "others can enter it"
        raise NotOursError(f"is not private: {others} (mode {stat.S_IMODE(found.st_mode):o})")
