"""The cost of a batch in system calls, counted rather than timed: one write per client and one per Redis command."""

import sys
from pathlib import Path

import pytest

from tests.support.deployment import Deployment, wait_until
from tests.support.peers import Peer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

CLIENTS = 20
BATCHES = 300
RECORDED = {
    "listener": 1.0,  # the append
    "sequencer": 2.0,  # the next read, the commit
    "fanout": CLIENTS + 1.0,  # each client, the heartbeat
}
TOLERATED = 1.1


def writes(pid: int) -> int:
    """Write system calls of a process since its start (proc(5), syscw)."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["syscw"])


def test_a_batch_costs_no_more_writes_than_recorded(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with Deployment(valkey_url, namespace, tmp_path / "log") as deployment:
        deployment.start_all(fanouts=1)
        clients = [Peer(deployment.client_port, user) for user in range(1, CLIENTS + 1)]
        wait_until(lambda: len(deployment.online()) == CLIENTS, "all are online")
        source = Peer(deployment.event_port)
        pids = {service: deployment.of(service)[0].pid for service in RECORDED}
        before, first = {service: writes(pid) for service, pid in pids.items()}, deployment.state("batch")
        for number in range(1, BATCHES + 1):  # one at a time, so that each becomes a batch
            line = b"%d|B\n" % number
            source.send(line)
            for client in clients:
                client.wait_for(line)
        used = {service: writes(pid) - before[service] for service, pid in pids.items()}
        batches = deployment.state("batch") - first
        for peer in (source, *clients):
            peer.close()
    assert batches >= BATCHES
    for service, recorded in RECORDED.items():
        cost = used[service] / batches
        assert recorded / TOLERATED <= cost <= recorded * TOLERATED, (
            f"{service}: {cost:.2f} writes, recorded {recorded}"
        )
