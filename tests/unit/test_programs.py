"""Which servers the tests run on: found by what they say, required in CI, named in the documents."""

import os
import re
from pathlib import Path

import pytest

from tests.support.programs import EMBEDDED, REQUIRED, Program, available, missing, named, program_at

ROOT = Path(__file__).parents[2]


def test_a_server_is_named_by_what_it_says() -> None:
    assert re.fullmatch(r"valkey-\d+\.\d+\.\d+", EMBEDDED.name)
    path = str(EMBEDDED.path)
    assert [program.name for program in named(os.pathsep.join([path, path]))] == [EMBEDDED.name] * 2
    assert named("") == []


def test_what_is_no_server_is_refused() -> None:
    with pytest.raises(ValueError, match="/bin/sh is not a Redis or Valkey server that runs here"):
        program_at(Path("/bin/sh"))


def test_what_is_required_and_not_found_has_a_stand_in() -> None:
    found = [Program("redis-6.20.1", Path("a")), Program("redis-7.0.15", Path("b")), Program("valkey-9.1.2", Path("c"))]
    assert missing(found) == [Program("redis-6.2", None)]
    assert [program.name for program in missing([])] == list(REQUIRED)


def test_what_is_missing_is_skipped_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"redis-6\.2 is not installed"):
        available(Program("redis-6.2", None))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"redis-6\.2 is not installed, and CI tests with it"):
        available(Program("redis-6.2", None))


def test_the_documents_name_what_ci_tests_with() -> None:
    versions = [kind.removeprefix("redis-") for kind in REQUIRED if kind.startswith("redis-")]
    embedded = re.sub(r"valkey-(\d+\.\d+)\..*", r"Valkey \1", EMBEDDED.name)
    claim = f"tested on Redis {' and '.join(versions)} and {embedded}"
    for document in ("README.md", "docs/deployment.md"):
        assert claim in " ".join((ROOT / document).read_text().split()), document
