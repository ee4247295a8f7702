"""Which web pages may use the web port. Pure.

Rules kept here:

- A request without an Origin header is not a browser's, and may.
- A page may when its origin is listed, or all are. Without a list none may, not even one that the same host serves:
  who can reach the port with a browser is not always whom it is for.
"""

import re

ALL = "*"

_is_origin = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?|null").fullmatch


class Origins:
    """The pages that may. `text`: origins separated by commas, as browsers write them, or `*` for all."""

    def __init__(self, text: str) -> None:
        """ValueError with the reason when there is something else in it."""
        listed = [part.strip() for part in text.split(",") if part.strip()]
        for origin in listed:
            if origin != ALL and not _is_origin(origin):
                raise ValueError(f"{origin!r} is no origin such as https://example.org, without a path and a slash")
        self._listed = frozenset(listed)

    def allow(self, origin: str | None) -> bool:
        """Whether a request with this Origin header is served; None: it has none."""
        return origin is None or ALL in self._listed or origin in self._listed
