"""Who may see the dashboard, and what its page may do. Pure; `password.py` slows down those who guess.

Without a password, the host in a request must be `localhost` or an IP address. Otherwise a page of another site could
have its own name point at this machine (DNS rebinding) and read everything. With a password any name is accepted: the
browser sends the password only to the name for which it was typed in.
"""

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

PAGE_PATH = "/"
ASK = 'Basic realm="Parade", charset="UTF-8"'


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP status, and a text for the person."""

    status: int
    text: str


WRONG_HOST = Refusal(
    421, "Without a password the dashboard answers to localhost and to IP addresses only. Set one to use a name."
)
WRONG_SITE = Refusal(403, "Other pages may not use the dashboard.")
TOO_MANY = Refusal(429, "Too many wrong passwords came from this address, or from all together. Try again later.")
NO_PASSWORD = Refusal(401, "The dashboard needs its password; any user name will do.")


def refusal(password: str | None, asked: Mapping[str, str], path: str = PAGE_PATH) -> Refusal | None:
    """Why a request with these headers is refused, even with the right password; None when it is not."""
    if password is None and not _is_address(asked.get("Host", "")):
        return WRONG_HOST
    return WRONG_SITE if _is_foreign(asked, path) else None


def given_password(asked: Mapping[str, str]) -> bytes | None:
    """The password of a request with these headers; None when it has none."""
    kind, _, code = asked.get("Authorization", "").partition(" ")
    try:
        given = base64.b64decode(code, validate=True) if kind.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        return None
    _, colon, password = given.partition(b":")
    return password if colon else None


def is_loopback(host: str) -> bool:
    """Whether a server that is bound to this host can be reached from this machine only."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(_bare(host)).is_loopback)


def headers(page: str) -> dict[str, str]:
    """Headers of every answer: a browser runs the script and style of this page and nothing else."""
    script, style = (_hashes(page, tag) for tag in ("script", "style"))
    policy = [
        "default-src 'none'",
        f"script-src {script}",
        f"style-src {style}",
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return {
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def _is_address(host: str) -> bool:
    bare = _bare(host)
    if bare == "localhost":
        return True
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return False
    return True


def _bare(host: str) -> str:
    """Without port and brackets."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](:\d+)?", host)
    if bracketed:
        return bracketed[1]
    return host.partition(":")[0] if host.count(":") == 1 else host


def _is_foreign(asked: Mapping[str, str], path: str) -> bool:
    """Whether the request comes from another page: one of another site, or of another port of this host.

    Such a page may link to the dashboard but not take up seats. Browsers send `Sec-Fetch-Site` to HTTPS and loopback
    only (https://www.w3.org/TR/fetch-metadata/); elsewhere `Origin` reveals an event source that it opened.
    """
    origin = asked.get("Origin")
    if origin is not None and urlsplit(origin).netloc != asked.get("Host"):
        return True
    if asked.get("Sec-Fetch-Site", "none") in ("same-origin", "none"):
        return False
    return not (path == PAGE_PATH and asked.get("Sec-Fetch-Mode") == "navigate")


def _hashes(page: str, tag: str) -> str:
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    sums = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found)
    return " ".join(f"'sha256-{each}'" for each in sums)
