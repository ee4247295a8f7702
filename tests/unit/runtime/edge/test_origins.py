"""Which pages may use the web port."""

import pytest

from runtime.edge.origins import Origins

PAGE = "https://example.org"


@pytest.mark.parametrize(
    ("listed", "origin", "may"),
    [
        ("", None, True),
        ("", PAGE, False),
        ("", "null", False),
        (PAGE, PAGE, True),
        (f"http://localhost:8000, {PAGE}", PAGE, True),
        (PAGE, "https://example.org:8443", False),
        (PAGE, "http://example.org", False),
        (PAGE, "https://example.org.evil.net", False),
        (PAGE, "", False),
        ("*", PAGE, True),
        ("*", "null", True),
        ("http://[::1]:8000", "http://[::1]:8000", True),
    ],
)
def test_only_listed_pages_may_and_programs_may(listed: str, origin: str | None, may: bool) -> None:
    assert Origins(listed).allow(origin) is may


@pytest.mark.parametrize("text", ["example.org", "https://a.org/", "https://Example.org", "ftp://a", "https://a b"])
def test_what_no_browser_says_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no origin such as"):
        Origins(text)
