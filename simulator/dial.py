"""Opens connections without waiting for them."""

import errno
import os
import socket

UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN, 0)


def dial(address: tuple[str, int]) -> socket.socket:
    """A non-blocking connection that is being made: writable once it is made or has failed. OSError if it can't be."""
    family, kind, protocol, _, where = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = connection.connect_ex(where)
        if code not in UNDER_WAY:
            raise OSError(code, os.strerror(code))
    except OSError:
        connection.close()
        raise
    return connection


def check(connection: socket.socket) -> None:
    """OSError if the connection could not be made."""
    code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
