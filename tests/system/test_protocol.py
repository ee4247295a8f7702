"""docs/protocol.md: its transcripts, word for word, with real processes."""

import re
from pathlib import Path

import pytest

from tests.support.deployment import PATIENCE_S, ROOT, Deployment, running, wait_until
from tests.support.peers import Peer
from tests.support.servers import free_port
from tests.support.terminal import check_session, sessions
from tests.support.up import parade

pytestmark = pytest.mark.slow

TRANSCRIPTS = re.findall(r"```transcript\n(.*?)```", (ROOT / "docs" / "protocol.md").read_text(), re.DOTALL)
HISTORY = "9f31c2"
"""What the page writes for the history of the deployment."""


class Typist:
    """Types one transcript; a peer that says something without a connection gets one."""

    def __init__(self, system: Deployment) -> None:
        self._system = system
        self._history = str(system.redis.hget(system.keys.state, "history"))
        self._peers: dict[str, Peer] = {}
        self._given: dict[str, int] = {}
        """How many bytes of what a peer has received were dealt with."""

    def type(self, line: str) -> None:
        """Do what one line of a transcript says."""
        if line.startswith("-- "):
            self._act(line[3:])
            return
        name, what, said = re.fullmatch(r"(\w+) (C:|S:|is closed|closes) ?(.*)", line).groups()  # type: ignore[union-attr]
        text = (said if said.startswith("ERROR") else said.replace(HISTORY, self._history)).encode() + b"\n"
        if what == "C:":
            self._peer(name).send(text)
        elif what == "S:":
            assert self._next_line(name) == text, line
        else:
            self._end(name, by_server=what == "is closed")

    def close(self) -> None:
        for peer in self._peers.values():
            peer.close()

    def _peer(self, name: str) -> Peer:
        if name not in self._peers:
            port = self._system.client_port if name == "client" else self._system.event_port
            self._peers[name], self._given[name] = Peer(port), 0
            self._peers[name].socket.settimeout(PATIENCE_S)
        return self._peers[name]

    def _next_line(self, name: str) -> bytes:
        peer, start = self._peers[name], self._given[name]
        while (end := peer.received.find(b"\n", start) + 1) == 0:
            peer.read()
            assert not peer.closed, f"{name} was closed after {peer.received!r}"
        self._given[name] = end
        return peer.received[start:end]

    def _end(self, name: str, by_server: bool) -> None:
        peer = self._peers.pop(name)
        if by_server:
            assert peer.wait_until_closed()[self._given[name] :] == b"", f"{name} was sent something before the end"
        peer.close()

    def _act(self, what: str) -> None:
        system = self._system
        if what == "parade skip":
            done = parade("skip", "--redis-url", system.url, "--namespace", system.keys.namespace)
            assert done.returncode == 0, done.stderr
            return
        assert what == "the node of the client is killed (kill -9), and another one starts"
        (node,) = system.of("fanout")
        known = set(system.redis.hkeys(system.keys.nodes))
        node.kill()
        node.wait()
        system.start("fanout")
        wait_until(lambda: set(system.redis.hkeys(system.keys.nodes)) - known, "another node serves")


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=["a place that is kept", "acknowledgements", "numbers"])
def test_a_transcript(transcript: str, valkey_url: str, namespace: str, tmp_path: Path) -> None:
    settings = {"numbering": "parade"} if "*|P" in transcript else {}
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, **settings) as system:
        typist = Typist(system)
        try:
            for line in transcript.splitlines():
                typist.type(line)
        finally:
            typist.close()


def test_each_transcript_is_typed() -> None:
    assert len(TRANSCRIPTS) == 3


def test_the_sessions_with_curl(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    typed = sessions("docs/protocol.md")
    assert len(typed) == 2
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system:
        port = free_port()
        system.start("listener", web_port=port)
        wait_until(lambda: system.logged("publishing") == 1, "the web port is open")
        for session in typed:
            check_session(session, tmp_path, {"9091": port})
        wait_until(lambda: system.state("next") == 6, "everything is released")
