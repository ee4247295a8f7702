"""`python -m runtime.probe`: exit status 0 when the service on this machine is ready; for health checks."""

import http.client
import os
import sys

from runtime.printable import printable
from runtime.settings import Settings, environment_name

ANSWER_S = 2.5
LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (to connect, not to bind)
"""Where to ask a port that is bound to every address."""


def main() -> None:
    """Ask the service's health port."""
    host, port = _setting("health_host"), int(_setting("health_port"))
    connection = http.client.HTTPConnection(LOOPBACK_OF.get(host, host), port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        print(printable(answer.read()))  # noqa: T201
        sys.exit(0 if answer.status == http.client.OK else 1)
    except OSError as problem:
        sys.exit(printable(f"no answer on port {port}: {problem}"))


def _setting(name: str) -> str:
    return os.environ.get(environment_name(name), str(Settings.model_fields[name].default))


if __name__ == "__main__":
    main()
