"""`make example`: Parade and the backend of the feed on this machine, until Ctrl-C.

Options are those of `parade up`. Both have a process group of their own: Ctrl-C in the terminal is told to this program
only, which ends them in order, also when they are still being loaded.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PORT = os.environ.get("FEED_PORT", "8000")
WEB_PORT = os.environ.get("FEED_PARADE_WEB_PORT", "9098")
START_S = 30.0
STOP_S = 15.0
PAGE = f"http://127.0.0.1:{PORT}"


def main() -> int:
    """Start both, and end both."""
    parade = [str(Path(sys.executable).with_name("parade")), "up", "--web-port", WEB_PORT, *sys.argv[1:]]
    own = {"PARADE_NUMBERING": "parade", "PARADE_WEB_ORIGINS": f"{PAGE},http://localhost:{PORT}"}
    paths = os.pathsep.join(filter(None, [str(HERE.parents[1] / "sdk" / "python"), os.environ.get("PYTHONPATH")]))
    log = HERE / "parade.log"
    processes = []
    try:
        with log.open("w") as output:
            processes.append(
                subprocess.Popen(parade, env=os.environ | own, stdout=output, stderr=output, process_group=0)
            )
            backend = [sys.executable, str(HERE / "backend.py")]
            processes.append(subprocess.Popen(backend, env=os.environ | {"PYTHONPATH": paths}, process_group=0))
            if not is_served(processes):
                print(f"it did not start: {log} says why", file=sys.stderr)
                return 1
        print(f"open {PAGE}/#1 and {PAGE}/#2 next to each other; Ctrl-C ends it", flush=True)
        while all(process.poll() is None for process in processes):
            time.sleep(0.2)
        print(f"a part has ended: {log} has what Parade said", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop(processes)


def is_served(processes: "list[subprocess.Popen[bytes]]") -> bool:
    """Wait for the page, which is there when the backend's source is connected."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        try:
            socket.create_connection(("127.0.0.1", int(PORT)), 1).close()
            return True
        except OSError:
            time.sleep(0.1)
    return False


def stop(processes: "list[subprocess.Popen[bytes]]") -> None:
    """End them, the backend first."""
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
