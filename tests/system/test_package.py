"""The package as a stranger gets it: built from the source distribution, installed into an empty environment, run
from another folder."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.support.servers import free_port

ROOT = Path(__file__).parents[2]
PACKAGES = ("contract", "runtime", "listener", "sequencer", "fanout", "console", "simulator")


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment with the wheel in it, and a folder to work in."""

    wheel: Path
    bin: Path
    folder: Path

    def run(self, program: str, *options: str, status: int = 0, **settings: str) -> str:
        """What a program of the environment prints; it must end with this status."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [self.bin / program, *options],
            cwd=self.folder,
            env={**environment, **settings},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


def _build(kind: str, source: Path, to: Path) -> Path:
    """Build with the backend of our own environment, as `pip wheel --no-build-isolation` does, offline."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(to)],
        cwd=source,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (built,) = to.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("package")
    with tarfile.open(_build("sdist", ROOT, folder / "sdist")) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    wheel = _build("wheel", source, folder / "wheel")

    environment = folder / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True, timeout=120)
    # The dependencies are found where the tests have them. Python searches a path from a .pth file, but does not read
    # the .pth files there, such as the one that leads to this checkout.
    ours = sysconfig.get_paths(vars={"base": str(environment), "platbase": str(environment)})["purelib"]
    Path(ours, "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    work = folder / "work"
    work.mkdir()
    (work / "listener.py").write_text("raise SystemExit('a file of the user ran in place of the service')\n")
    return Installed(wheel, environment / "bin", work)


def _files(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as wheel:
        return set(wheel.namelist())


def _metadata(path: Path) -> Message:
    with zipfile.ZipFile(path) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_has_each_file_of_the_packages_and_nothing_else(installed: Installed) -> None:
    def kept(path: Path) -> bool:
        return path.is_file() and "__pycache__" not in path.parts

    here = {str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*") if kept(path)}
    there = {name for name in _files(installed.wheel) if ".dist-info/" not in name}
    assert there == here
    assert {Path(name).suffix for name in there} == {".py", ".lua", ".html", ".typed"}
    assert {name for name in there if name.endswith("py.typed")} == {f"{name}/py.typed" for name in PACKAGES}


def test_the_metadata_names_the_licence_and_nothing_that_does_not_exist(installed: Installed) -> None:
    metadata = _metadata(installed.wheel)
    assert metadata["License-Expression"] == "MIT"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in _files(installed.wheel))
    assert metadata.get_all("Project-URL") is None
    assert metadata["Summary"]
    assert metadata["Keywords"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    description = str(metadata.get_payload())
    assert "## When to use it, and when not" in description
    assert "![" not in description


def test_the_code_that_runs_is_the_code_of_the_wheel(installed: Installed) -> None:
    where = f"import {', '.join(PACKAGES)}; print(*(p.__file__ for p in ({', '.join(PACKAGES)})), sep=chr(10))"
    files = installed.run("python", "-P", "-c", where).splitlines()
    assert len(files) == len(PACKAGES)
    assert all(Path(file).is_relative_to(installed.bin.parent) for file in files)


def test_the_command_says_its_version(installed: Installed) -> None:
    assert _metadata(installed.wheel)["Version"] in installed.run("parade", "--version")


def test_the_whole_system_runs(installed: Installed) -> None:
    assert "20,000" in installed.run("parade", "demo", "--events", "20000")


@pytest.mark.parametrize("service", ["listener", "sequencer", "fanout"])
def test_a_service_is_a_command(installed: Installed, service: str) -> None:
    assert service in installed.run("parade", service, "--help")


def test_the_probe_of_the_image_runs(installed: Installed) -> None:
    port = free_port()
    assert f"no answer on port {port}" in installed.run(
        "python", "-m", "runtime.probe", status=1, PARADE_HEALTH_PORT=str(port)
    )
