"""`python -m sequencer`: wires settings and the leader; the only place here that does."""

import asyncio
import gc

from runtime.readiness import Readiness
from runtime.report import Reporter, service_name
from runtime.service import conclude, run, until_one_ends
from runtime.settings import Settings
from sequencer.candidate import Leader


async def main(settings: Settings, readiness: Readiness, stop: asyncio.Event) -> None:
    """Sequence, or stand by, until told to stop, or until a part of the service fails."""
    # A batch makes thousands of tuples and no cycles: at the default threshold of 700 the collector
    # goes through them again and again (5 to 20 % of the CPU).
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    leader = Leader(settings, readiness)
    reporter = Reporter(settings.keys, service_name("sequencer"), readiness, lambda: leader.link, leader.about)
    leader.on_stopped = reporter.withdraw
    reporting = asyncio.create_task(reporter.run())
    serving = asyncio.create_task(leader.run(stop))
    problem = await until_one_ends(stop, serving, reporting)

    # The leader commits its last batch and gives the lease back.
    stop.set()
    await asyncio.wait([serving], timeout=settings.shutdown_s)
    reporting.cancel()
    await conclude(problem, serving)


if __name__ == "__main__":
    run("sequencer", main)
