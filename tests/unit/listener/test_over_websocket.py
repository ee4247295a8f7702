"""Messages as lines."""

import pytest

from listener.over_websocket import whole


@pytest.mark.parametrize(
    ("message", "lines"),
    [(b"", b""), (b"1|B", b"1|B\n"), (b"1|B\n", b"1|B\n"), (b"1|B\n2|B", b"1|B\n2|B\n"), (b"1|B\r", b"1|B\r\n")],
)
def test_the_last_line_of_a_message_gets_the_end_that_it_lacks(message: bytes, lines: bytes) -> None:
    assert whole(message) == lines
