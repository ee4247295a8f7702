"""`python -m contract.probe`: exit status 0 when the service on this machine is ready; for health checks."""

import http.client
import os
import sys

from contract.settings import environment_name

ANSWER_S = 2.5


def main() -> None:
    """Ask the service's health port."""
    port = int(os.environ.get(environment_name("health_port"), "0"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        print(answer.read().decode())  # noqa: T201
        sys.exit(0 if answer.status == http.client.OK else 1)
    except OSError as problem:
        sys.exit(f"no answer on port {port}: {problem}")


if __name__ == "__main__":
    main()
