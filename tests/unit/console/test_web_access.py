"""Who may see the dashboard, by the headers of a request."""

import base64
import hashlib

import pytest

from console.web_access import WRONG_HOST, WRONG_PASSWORD, WRONG_SITE, headers, is_loopback, refusal

PASSWORD = "grüße:a b"  # noqa: S105


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9190", "127.0.0.1:9190", "[::1]:9190", "[::1]", "192.168.1.7:80", "10.0.0.1"]
)
def test_without_a_password_localhost_and_addresses_are_answered(host: str) -> None:
    assert refusal(None, {"Host": host}) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:9190",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "[evil]",
        "1.2.3.4:x:y",
    ],
)
def test_without_a_password_names_are_not(host: str) -> None:
    assert refusal(None, {"Host": host}) is WRONG_HOST
    assert refusal(None, {}) is WRONG_HOST


def test_the_password_opens_under_any_name_and_user() -> None:
    for user in ("", "admin"):
        assert refusal(PASSWORD, {"Host": "parade.example"} | basic(f"{user}:{PASSWORD}")) is None


@pytest.mark.parametrize(
    "given",
    [
        {},
        basic(PASSWORD.partition(":")[2]),
        basic(":"),
        basic(f"admin:{PASSWORD}x"),
        basic(f"admin:{PASSWORD[:-1]}"),
        {"Authorization": "Basic"},
        {"Authorization": "Basic %%%"},
        {"Authorization": "Basic grüße"},
        {"Authorization": basic(f"admin:{PASSWORD}")["Authorization"].replace("Basic", "Bearer")},
    ],
)
def test_nothing_else_does(given: dict[str, str]) -> None:
    assert refusal(PASSWORD, {"Host": "127.0.0.1"} | given) is WRONG_PASSWORD


def test_pages_of_other_sites_may_link_to_it_and_nothing_more() -> None:
    foreign = {"Host": "127.0.0.1:9190", "Sec-Fetch-Site": "cross-site"}
    assert refusal(None, foreign | {"Sec-Fetch-Mode": "no-cors"}) is WRONG_SITE
    assert refusal(None, foreign | {"Sec-Fetch-Mode": "navigate"}) is None
    assert refusal(None, foreign | {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}) is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("127.8.8.8", True),
        ("0.0.0.0", False),  # noqa: S104
        ("parade", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected


def test_the_policy_allows_this_pages_script_and_style_and_no_other() -> None:
    policy = headers("<style>b</style><script>\na</script>")["Content-Security-Policy"]
    expected = base64.b64encode(hashlib.sha256(b"\na").digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{expected}';" in policy
    assert "unsafe" not in policy
