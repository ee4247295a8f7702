"""Who may see the dashboard, by the headers of a request."""

import base64
import hashlib

import pytest

from console.web.access import WRONG_HOST, WRONG_SITE, given_password, headers, is_loopback, refusal

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


def test_with_a_password_any_name_is_answered_and_any_user_is_welcome() -> None:
    assert refusal(PASSWORD, {"Host": "parade.example"}) is None
    for user in ("", "admin"):
        assert given_password(basic(f"{user}:{PASSWORD}")) == PASSWORD.encode()
    assert given_password(basic(":")) == b""


@pytest.mark.parametrize(
    "given",
    [
        {},
        basic("nothing but a name"),
        {"Authorization": "Basic"},
        {"Authorization": "Basic %%%"},
        {"Authorization": "Basic grüße"},
        {"Authorization": basic(f"admin:{PASSWORD}")["Authorization"].replace("Basic", "Bearer")},
    ],
)
def test_what_is_no_password(given: dict[str, str]) -> None:
    assert given_password(given) is None


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("password", [None, PASSWORD])
def test_other_pages_may_link_to_it_and_nothing_more(site: str, password: str | None) -> None:
    """Another port of this host is the same site to a browser, and another page all the same."""
    foreign = {"Host": "127.0.0.1:9190", "Sec-Fetch-Site": site}
    assert refusal(password, foreign | {"Sec-Fetch-Mode": "navigate"}, "/") is None
    for mode in ("no-cors", "cors", "websocket"):
        assert refusal(password, foreign | {"Sec-Fetch-Mode": mode}, "/") is WRONG_SITE
        assert refusal(password, foreign | {"Sec-Fetch-Mode": mode}, "/events") is WRONG_SITE
    assert refusal(password, foreign | {"Sec-Fetch-Mode": "navigate"}, "/events") is WRONG_SITE


def test_its_own_page_and_the_address_bar_get_the_events() -> None:
    for site in ("same-origin", "none"):
        own = {"Host": "127.0.0.1:9190", "Sec-Fetch-Site": site, "Sec-Fetch-Mode": "cors"}
        assert refusal(None, own, "/events") is None
        assert refusal(None, own | {"Origin": "http://127.0.0.1:9190"}, "/events") is None


@pytest.mark.parametrize("origin", ["http://192.0.2.7:8000", "http://evil.example", "null", ""])
def test_where_browsers_say_no_more_the_origin_counts(origin: str) -> None:
    assert refusal(None, {"Host": "192.0.2.7:9190", "Origin": origin}, "/events") is WRONG_SITE


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
