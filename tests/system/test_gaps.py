"""A missing sequence number: waited for and reported, skipped by hand or by policy, and late from then on."""

from pathlib import Path

from tests.support.deployment import running, wait_until
from tests.support.peers import health, peers, source
from tests.support.servers import free_port


def test_a_gap_is_waited_for_and_reported(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    port = free_port()
    with running(valkey_url, namespace, tmp_path / "log", gap_warning_s=1) as system:
        system.processes[0].terminate()
        system.processes[0].wait()
        system.start("sequencer", health_port=port)
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "the user is online")
            source(system.event_port, b"1|B\n3|B\n5|B\n6|B\n")
            user.wait_for(b"1|B\n")
            wait_until(lambda: system.logged("gap") == 1, "the gap is logged")
            line = next(line for line in system.log.read_text().splitlines() if '"event": "gap"' in line)
            assert '"missing": 2, "waiting": 3' in line
            assert "parade skip" in line
            status, body = health(port)
            assert status == 503
            assert "3 events have been waiting for number 2" in str(body["reasons"])

            system.redis.xadd(system.keys.events, {"skip_to": 3})
            user.wait_for(b"3|B\n")
            wait_until(lambda: system.rejected() == [("skipped", "2-2")], "the skipped number is recorded")
            source(system.event_port, b"2|B\n4|B\n")
            user.wait_for(b"6|B\n")
            assert user.received == b"1|B\n3|B\n4|B\n5|B\n6|B\n"
            wait_until(lambda: health(port)[0] == 200, "the sequencer is ready again")
        assert (system.state("skipped"), system.state("late"), system.state("released")) == (1, 1, 5)


def test_a_gap_is_reported_while_events_keep_coming(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    """Each batch puts off the next tick, so batches have to look as well."""
    with running(valkey_url, namespace, tmp_path / "log", gap_warning_s=0.5, tick_s=60) as system:
        numbers = iter(range(2, 1_000_000))

        def reported() -> bool:
            source(system.event_port, b"%d|B\n" % next(numbers))
            return system.logged("gap") == 1

        wait_until(reported, "the gap is logged")


def test_gaps_are_skipped_after_a_timeout(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        running(valkey_url, namespace, tmp_path / "log", gap_timeout_s=1) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        wait_until(lambda: system.online() == {"1"}, "the user is online")
        source(system.event_port, b"3|B\n4|B\n7|B\n")
        user.wait_for(b"7|B\n")
        assert user.received == b"3|B\n4|B\n7|B\n"
        wait_until(lambda: system.state("skipped") == 4, "the skipped numbers are counted")
        assert system.rejected() == [("skipped", "1-2"), ("skipped", "5-6")]


def test_a_skipped_number_stays_skipped_under_a_new_leader(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    """Skipping in several batches, with a new leader between them, skips the same numbers."""
    with (
        running(valkey_url, namespace, tmp_path / "log", batch_deliveries=10, lease_s=1) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        wait_until(lambda: system.online() == {"1"}, "the user is online")
        odd = b"".join(b"%d|B\n" % number for number in range(1, 4000, 2))
        source(system.event_port, odd)
        wait_until(lambda: system.redis.zcard(system.keys.waiting) == 1999, "all but the first wait")
        system.redis.xadd(system.keys.events, {"skip_to": 4000})
        wait_until(lambda: system.state("released") > 100, "skipping has started")
        system.processes[0].kill()
        system.start("sequencer")
        user.wait_for(b"3999|B\n")
        assert user.received == odd
        wait_until(lambda: system.state("next") == 4000, "everything is skipped")
        assert system.state("skipped") == 1999
