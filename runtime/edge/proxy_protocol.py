"""The PROXY protocol, version 1: the line by which a load balancer names its client. Pure.

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.1. A service that expects the
line takes connections from its balancer only, since anyone could claim any address with it.
"""

LONGEST_BYTES = 107

Address = tuple[str, str]
"""The client's address and port."""


class NotProxiedError(ValueError):
    """The connection does not begin with a PROXY line."""


def split(data: bytes) -> tuple[Address, bytes] | None:
    """(client, what follows the line); None while the line is not complete.

    NotProxiedError when `data` can't be the beginning of a PROXY line.
    """
    head, end, rest = data[:LONGEST_BYTES].partition(b"\r\n")
    if not end:
        if len(data) >= LONGEST_BYTES or not data.startswith(b"PROXY "[: len(data)]):
            raise NotProxiedError
        return None
    match head.split(b" "):
        case [b"PROXY", b"TCP4" | b"TCP6", address, _, port, _]:
            client = address.decode(errors="surrogateescape"), port.decode(errors="surrogateescape")
        case [b"PROXY", b"UNKNOWN", *_]:
            client = "unknown", "0"
        case _:
            raise NotProxiedError
    return client, rest + data[LONGEST_BYTES:]
