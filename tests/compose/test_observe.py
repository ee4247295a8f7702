"""The profile `observe` of the compose file, as docker-compose reads it."""

import re
import subprocess

import pytest

from tests.compose.stack import Stack
from tests.support.deployment import ROOT

GUARD = re.compile(r"    entrypoint:\n      - sh\n      - -c\n      - \|\n((?: {8}.*\n)+)")


@pytest.fixture
def project() -> Stack:
    """A project that is not started: the images of this profile may be missing."""
    return Stack()


def section(config: str, service: str) -> str:
    """One service in the output of `docker-compose config`."""
    (text,) = re.findall(rf"^  {service}:\n((?: {{4}}.*\n|\n)+)", config, re.MULTILINE)
    return str(text)


def test_the_profile_is_valid_and_off_by_default(project: Stack) -> None:
    services = set(project.compose("config", "--services").split())
    observed = set(project.compose("--profile", "observe", "config", "--services").split())
    if services >= {"prometheus", "grafana"}:  # docker-compose 1.29 lists the services of all profiles
        assert services == observed
    else:
        assert observed - services >= {"prometheus", "grafana"}
    config = project.compose("--profile", "observe", "config")
    for service in ("prometheus", "grafana"):
        text = section(config, service)
        assert "profiles:\n    - observe\n" in text.replace("      - observe", "    - observe")
        assert "read_only: true" in text
        assert "ALL" in text


def test_ports_are_published_on_loopback_only(project: Stack) -> None:
    project.environment["PARADE_BIND"] = "0.0.0.0"  # noqa: S104 (this must make no difference)
    config = project.compose("--profile", "observe", "config")
    for service in ("prometheus", "grafana"):
        text = section(config, service)
        ports = text.partition("ports:\n")[2]
        assert re.match(r" +- (127\.0\.0\.1:|mode: ingress\n +host_ip: 127\.0\.0\.1\n)", ports), ports


def test_only_prometheus_can_reach_the_services(project: Stack) -> None:
    config = project.compose("--profile", "observe", "config")
    assert "inside:" in section(config, "prometheus")
    assert "inside:" not in section(config, "grafana")


@pytest.mark.parametrize("password", ["", "my own"])
def test_grafana_does_not_start_without_a_password(project: Stack, password: str) -> None:
    project.environment["PARADE_GRAFANA_PASSWORD"] = password
    text = section(project.compose("--profile", "observe", "config"), "grafana")
    (given,) = re.findall("GF_SECURITY_ADMIN_PASSWORD: (.*)", text)
    assert given.strip("'\"") == password
    assert re.search("GF_AUTH_ANONYMOUS_ENABLED: ['\"]?false", text)
    (guard,) = GUARD.findall((ROOT / "docker-compose.yml").read_text())
    script = guard.replace("$$", "$").replace("exec /run.sh", "echo runs")
    done = subprocess.run(
        ["sh", "-c", script],
        env={"GF_SECURITY_ADMIN_PASSWORD": password}, capture_output=True, text=True, timeout=10, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == ((0, "runs\n") if password else (1, ""))
