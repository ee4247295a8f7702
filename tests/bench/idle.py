"""The cost of idle connections."""

import socket
import time
from typing import Any

from tests.bench.system_under_test import running


def idle(count: int) -> dict[str, Any]:
    """Connect `count` idle users to one node; resident memory per user in each process, in bytes."""
    connections: list[socket.socket] = []
    with running("--fanouts", "1") as system:
        before = {process.name: process.rss_kib for process in system.processes()}
        began_s = time.monotonic()
        try:
            for user in range(1, count + 1):
                connections.append(socket.create_connection(("127.0.0.1", system.client_port)))
                connections[-1].sendall(b"%d\n" % user)
            system.wait_until_online(count)
            joined_s = time.monotonic() - began_s
            after = {process.name: process.rss_kib for process in system.processes()}
        finally:
            for connection in connections:
                connection.close()
    cost = {name: round((after[name] - before[name]) * 1024 / count) for name in ("fanout", "sequencer", "redis")}
    return {"connections": count, "seconds_to_join": round(joined_s, 1), "bytes_each": cost}
