"""What a client sends over TCP: its registration, BYE if it opted in, and input that is ignored.

Rules kept here:

- A client that sent a bare registration line gets event lines only. Any client gets one line `ERROR <reason>` before it
  is closed because it is not let in or its registration is wrong.
"""

from http import HTTPStatus

from fanout.clients.arrival import ArrivingClient
from fanout.clients.registration import Registration
from fanout.clients.server import ClientServer
from runtime.edge.admission import RefusedError


class Client(ArrivingClient):
    """One client's TCP connection."""

    def __init__(self, clients: ClientServer) -> None:
        super().__init__(clients)
        self._registration = Registration()

    def _receive(self, data: bytes) -> None:
        if self.user_id:
            if self.opted_in:
                self._hear(data)
            self._ignore()
            return
        try:
            complete = self._registration.feed(data)
        except RefusedError as refusal:
            self._refuse(str(refusal))
            return
        if complete:
            registered, rest = complete
            if self._register(registered) and self.opted_in and rest:
                self._hear(rest)

    def _say_refused(self, reason: str, _: HTTPStatus, wait_ms: int) -> None:
        told = f"BYE busy {wait_ms}" if wait_ms else f"ERROR {reason}"
        self._transport.write(f"{told}\n".encode())
