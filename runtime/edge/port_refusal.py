"""Why a port can't be had, in one sentence, with the process that has it where the system tells (Linux).

`/proc/net/tcp` lists sockets with their inode, and `/proc/<pid>/fd` the inodes that a process has open. Those of other
users are hidden unless root asks: then the sentence names no process.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

from runtime.printable import printable

PROC = Path("/proc")
ANY = (bytes(4), bytes(16))
"""The addresses 0.0.0.0 and ::, which take the port on every address."""
_LISTENS = "0A"


def refusal(host: str, port: int, problem: OSError) -> str:
    """What to tell the user when binding to the port ended with this problem."""
    if problem.errno != errno.EADDRINUSE:
        return f"can't listen on {host}:{port}: {problem.strerror or problem}"
    holder = _holder(host, port)
    return f"port {port} on {host} is in use{f' by {holder}' if holder else ''}; choose another one"


def _holder(host: str, port: int) -> str | None:
    with contextlib.suppress(OSError):
        inodes = _sockets(_packed(host, port), port)
        for process in PROC.glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if any(str(file.readlink()) in inodes for file in (process / "fd").iterdir()):
                    name = (process / "comm").read_text().strip()
                    return f"{printable(name)} (process {process.name})"
    return None


def _sockets(addresses: set[bytes], port: int) -> set[str]:
    """The sockets that have this port on one of the addresses, as `/proc/<pid>/fd` names them."""
    rows = [row for table in ("tcp", "tcp6") for row in _rows(PROC / "net" / table)]
    found = [row for row in rows if row[1] == port and (row[0] in addresses or row[0] in ANY or addresses & {*ANY})]
    listening = [row for row in found if row[2] == _LISTENS]
    return {f"socket:[{inode}]" for *_, inode in listening or found}


def _rows(table: Path) -> Iterator[tuple[bytes, int, str, str]]:
    """(address, port, state, inode) of each socket in the table, described in proc(5)."""
    with contextlib.suppress(OSError):
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            address, port = fields[1].split(":")
            yield _bytes(address), int(port, 16), fields[3], fields[9]


def _bytes(address: str) -> bytes:
    # Each word of 32 bits is printed as a number of this machine, which has its lowest byte first.
    words = bytes.fromhex(address)
    return b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))


def _packed(host: str, port: int) -> set[bytes]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return {socket.inet_pton(family, str(where[0])) for family, _, _, _, where in found}
