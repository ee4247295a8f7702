"""Files that others on the machine have prepared for us to stumble over."""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from console.files import NotOursError, private_folder, read_private, write_private, written_whole
from console.local import running
from console.local.running import Running, find, find_all
from runtime.errors import ParadeError

UP = Running(os.getpid(), "redis://:secret@127.0.0.1:1/0", "ns", 9500, 9501)
STRANGER = 65534
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")


@pytest.fixture(autouse=True)
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that all users can write to, as /tmp is, with nothing private configured."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    running._say.cache_clear()
    return folder


def private(shared: Path) -> Path:
    return shared / f"parade-{os.getuid()}"


def test_what_is_announced_is_found_and_private(shared: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert find_all() == []
    assert not private(shared).exists(), "looking leaves nothing behind"
    UP.announce()
    assert find(9500) == UP
    assert find_all() == [UP]
    assert private(shared).stat().st_mode & 0o777 == 0o700
    (file,) = private(shared).iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    UP.announce()
    UP.withdraw()
    assert (find(9500), list(private(shared).iterdir())) == (None, [])
    assert capfd.readouterr().err == ""


def test_where_the_files_of_this_session_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    UP.announce()
    assert [path.name for path in (tmp_path / "parade").iterdir()] == ["up-9500.json"]
    assert find(9500) == UP


def foreign(folder: Path) -> None:
    folder.mkdir(mode=0o777)
    os.chown(folder, STRANGER, STRANGER)


@pytest.mark.parametrize("plant", [Path.touch, pytest.param(foreign, marks=needs_root)])
def test_a_session_folder_that_is_not_ours_to_write_to_is_not_used(
    plant: Callable[[Path], None],
    tmp_path: Path,
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    plant(tmp_path / "session")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "session"))
    UP.announce()
    assert [path.name for path in private(shared).iterdir()] == ["up-9500.json"]
    assert (find(9500), find_all()) == (UP, [UP])
    assert capfd.readouterr().err == ""


def linked_folder(shared: Path) -> None:
    elsewhere = shared / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    private(shared).symlink_to(elsewhere)


def open_folder(shared: Path) -> None:
    private(shared).mkdir()
    private(shared).chmod(0o777)


def foreign_folder(shared: Path) -> None:
    private(shared).mkdir(mode=0o700)
    os.chown(private(shared), STRANGER, STRANGER)


def a_file(shared: Path) -> None:
    private(shared).write_text("")


@pytest.mark.parametrize(
    ("plant", "why"),
    [
        (linked_folder, "is no folder, or a symbolic link"),
        (a_file, "is no folder, or a symbolic link"),
        (open_folder, "is not private: others can enter it (mode 777)"),
        pytest.param(foreign_folder, f"belongs to another user (id {STRANGER})", marks=needs_root),
    ],
)
def test_a_folder_that_is_not_ours_is_not_used(
    plant: Callable[[Path], None], why: str, shared: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plant(shared)
    before = sorted(shared.rglob("*"))
    UP.announce()
    UP.withdraw()
    assert (find(9500), find_all()) == (None, [])
    assert sorted(shared.rglob("*")) == before, "nothing is written there"
    (said,) = capfd.readouterr().err.splitlines()
    assert f"{private(shared)} {why}: commands do not find this `parade up`" in said


def linked_file(shared: Path, file: Path) -> None:
    elsewhere = shared / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def writable_file(_: Path, file: Path) -> None:
    file.chmod(0o622)


def foreign_file(_: Path, file: Path) -> None:
    os.chown(file, STRANGER, STRANGER)


def a_pipe(_: Path, file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


@pytest.mark.parametrize(
    ("plant", "why"),
    [
        (linked_file, "can't be opened, or is a symbolic link"),
        (writable_file, "is not private: others can write to it (mode 622)"),
        (a_pipe, "is not a regular file"),
        pytest.param(foreign_file, f"belongs to another user (id {STRANGER})", marks=needs_root),
    ],
)
def test_a_file_that_others_may_have_written_is_not_read(
    plant: Callable[[Path, Path], None], why: str, shared: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    UP.announce()
    file = private(shared) / "up-9500.json"
    plant(shared, file)
    for _ in range(2):
        assert (find(9500), find_all()) == (None, [])
    (said,) = capfd.readouterr().err.splitlines()
    assert f"{file} {why}" in said
    assert "secret" not in said


def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(shared: Path) -> None:
    victim = shared / "victim"
    victim.write_text("precious")
    private(shared).mkdir(mode=0o700)
    (private(shared) / "up-9500.json").symlink_to(victim)
    UP.announce()
    assert find(9500) == UP
    assert victim.read_text() == "precious"


def test_names_that_are_taken_are_not_opened(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
    victim = shared / "victim"
    victim.write_text("precious")
    with private_folder(private(shared), make=True) as folder:
        os.symlink(victim, ".name.guessed", dir_fd=folder)
        with pytest.raises(FileExistsError):
            write_private(folder, "name", "text")
        os.symlink(victim, "link", dir_fd=folder)
        with pytest.raises(NotOursError):
            read_private(folder, "link")
    (shared / ".out.guessed").symlink_to(victim)
    with pytest.raises(ParadeError, match=r"can't write .*out: File exists"), written_whole(shared / "out") as file:
        file.write("text")
    assert victim.read_text() == "precious"


def test_what_can_not_be_announced_is_said_and_the_system_runs_on(
    shared: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (private(shared) / "up-9500.json").mkdir(parents=True)
    private(shared).chmod(0o700)
    UP.announce()
    assert "can't be used (Is a directory)" in capfd.readouterr().err
    assert len(list(private(shared).iterdir())) == 1


# Files of the user's choice


def test_a_file_is_whole_or_as_it_was(shared: Path) -> None:
    path = shared / "out"
    with written_whole(path) as file:
        file.write("one é")
    with contextlib.suppress(RuntimeError), written_whole(path) as file:
        file.write("half")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "one é"
    assert [each.name for each in shared.iterdir()] == ["out"]
    with written_whole(path) as file:
        file.write("two")
    assert path.read_text() == "two"


@pytest.mark.parametrize("plant", ["link", "pipe"])
def test_what_is_no_file_is_not_written_to(plant: str, shared: Path) -> None:
    path, victim = shared / "out", shared / "victim"
    victim.write_text("precious")
    if plant == "link":
        path.symlink_to(victim)
    else:
        os.mkfifo(path)
    with pytest.raises(ParadeError, match="it is not a regular file"), written_whole(path) as file:
        file.write("text")
    assert victim.read_text() == "precious"
    assert {each.name for each in shared.iterdir()} == {"out", "victim"}
