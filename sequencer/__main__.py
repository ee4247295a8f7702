"""`python -m sequencer`: makes the parts and ends them in order; the only file here that does."""

import asyncio
import gc

from runtime import tasks
from runtime.context import Context
from runtime.outage import Outage
from runtime.readiness import Readiness, Status
from runtime.report import Reporter, service_name
from runtime.service import conclude, run, shown, until_one_ends
from sequencer.candidate import Candidate
from sequencer.stats import SequencerStats


async def main(context: Context, stop: asyncio.Event) -> None:
    """Sequence, or stand by, until told to stop or until a part of the service fails."""
    # A batch makes thousands of tuples and no cycles: at the default threshold of 700 the collector
    # goes through them again and again (5 to 20 % of the CPU).
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    readiness, name = Readiness(), service_name("sequencer")
    candidate = Candidate(context, Outage(context, readiness), SequencerStats(), name)
    status = Status(readiness, candidate.observe, checks=(candidate.why_stuck,), identity=candidate.identity)
    async with shown("sequencer", context, status):
        reporting = asyncio.create_task(Reporter(context, name, status, lambda: candidate.link).run())
        serving = asyncio.create_task(candidate.run(stop))
        problem = await until_one_ends(stop, serving, reporting)

        # 1. No more reports; 2. the candidate commits its last batch, gives the lease back and withdraws its report.
        stop.set()
        await tasks.end([reporting])
        await asyncio.wait([serving], timeout=context.settings.shutdown_s)
        await conclude(problem, serving)


if __name__ == "__main__":
    run("sequencer", main)
