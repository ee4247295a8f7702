"""Fail-over under Sentinel: with wait_replicas nothing is lost or repeated; without, a loss is detected and logged."""

import signal
from pathlib import Path

import pytest

from simulator.workload import Workload
from tests.support.deployment import PATIENCE_S, running, wait_until
from tests.support.peers import edges, expect_everything, generated, peers, slowly, source
from tests.support.programs import SYSTEM, Program
from tests.support.sentinel import replicated

pytestmark = pytest.mark.slow

USERS = range(1, 21)


def test_with_replicas_waited_for_a_fail_over_loses_and_repeats_nothing(
    program: Program, namespace: str, tmp_path: Path
) -> None:
    oracle, arrival = generated(Workload(60_000, 40, 5), USERS)
    with (
        replicated(program, tmp_path, replicas=2) as service,
        running(service.url, namespace, tmp_path / "log", wait_replicas=1, redis_timeout_s=2) as system,
        peers(system.client_port, USERS) as clients,
    ):
        wait_until(lambda: len(system.online()) == 20, "all users are online")
        sending = slowly(system.event_port, arrival, 4.0)
        wait_until(lambda: system.state("released") > 5000, "events flow")
        service.kill_primary()
        service.wait_for_fail_over()
        expect_everything(clients, oracle)
        sending.join(PATIENCE_S)
        wait_until(lambda: system.state("released") == 60_000, "everything is released")
        assert system.graph(USERS) == edges(oracle)
        assert system.logged("connections_closed") == 0


@pytest.mark.parametrize("overtaken", [False, True], ids=["behind", "overtaken"])
def test_an_older_copy_of_the_data_ends_the_connections(
    overtaken: bool, redis_url: str, namespace: str, tmp_path: Path
) -> None:
    """A node notices that Redis has an older copy, whether it has fewer batches than the node or already more."""
    assert redis_url  # requires redis-server
    with (
        replicated(SYSTEM, tmp_path, replicas=1) as service,
        running(service.url, namespace, tmp_path / "log", fanouts=1, redis_timeout_s=2, node_silence_s=60) as system,
    ):
        (node,) = system.of("fanout")
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "the user is online")
            source(system.event_port, b"1|B\n2|B\n")
            user.wait_for(b"2|B\n")
            service.cut_replicas_off()
            source(system.event_port, b"3|B\n")
            user.wait_for(b"3|B\n")
            if overtaken:
                node.send_signal(signal.SIGSTOP)
            service.kill_primary()
            service.resume_replicas()
            service.wait_for_fail_over()
            wait_until(lambda: system.logged("sequencing") == 2, "a new term starts")
            assert system.state("next") == 3
            if overtaken:
                before = system.state("batch")
                source(system.event_port, b"3|P|2|1\n4|B\n")
                wait_until(lambda: system.state("batch") > before + 5, "there are more batches than the node knew")
                node.send_signal(signal.SIGCONT)
            assert user.wait_until_closed() == b"1|B\n2|B\n3|B\n"
        assert system.logged("connections_closed") == 1
        assert "went back to an older copy" in system.log.read_text()
        assert system.logged("state_went_back") == 1
