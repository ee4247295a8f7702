"""`parade tap --at`: a client of users at a port, which comes back when a connection ends, and tells what it hears."""

from collections.abc import Callable
from typing import Final

from runtime.errors import ParadeError
from simulator.address import Address
from simulator.returner import Returner
from simulator.returning import Returners
from simulator.wire import Way, wires_to

CONNECT_S: Final = 10.0
WAIT_S: Final = 0.5
ANSWERS: Final = ("OK", "RESUMED", "RESET")


class Hearing:
    """`on_lines` gets a user and whole event lines, `on_news` a sentence about a connection."""

    def __init__(
        self, at: Address, users: list[str], on_lines: Callable[[str, bytes], None], on_news: Callable[[str], None]
    ) -> None:
        way = Way([(at.host, at.port)], wires_to(at.transport, at.host, at.port, at.path))
        self._place = f"{at.host}:{at.port}"
        self._clients = Returners(way, [int(user) for user in users], CONNECT_S)
        self._clients.on_lines = lambda user, lines: on_lines(str(user), lines)
        self._on_news = on_news
        self._told = dict.fromkeys(self._clients.all, (0, False))
        """How many answers were told of each client, and whether it was told that its connection has ended since."""

    def run(self) -> None:
        """Until an exception ends it. ParadeError when the port can't be reached, or says what makes no sense."""
        try:
            self._connect()
            while True:
                self._clients.receive(WAIT_S)
                for client in self._clients.all:
                    self._look_at(client)
        finally:
            self._clients.close()

    def _connect(self) -> None:
        try:
            self._clients.connect(lambda _: None)
        except OSError as problem:
            raise ParadeError(f"can't connect to {self._place}: {problem}") from None

    def _look_at(self, client: Returner) -> None:
        cursor = client.cursor
        if cursor.problems:
            raise ParadeError(f"{self._place} sent user {client.user} what makes no sense: {cursor.problems[0]}")
        if cursor.error:
            raise ParadeError(f"{self._place} refused user {client.user}: {cursor.error}")
        answers, is_gone = self._told[client]
        count = sum(cursor.answers[word] for word in ANSWERS)
        if count != answers:
            self._on_news(f"user {client.user}: {cursor.last_answer}")
            is_gone = False
        if client.closed and not is_gone:
            self._on_news(f"user {client.user}: the connection has ended; coming back")
            is_gone = True
        self._told[client] = (count, is_gone)
