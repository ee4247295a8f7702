"""`python -m listener`: makes the parts and ends them in order; the only file here that does."""

import asyncio

from listener.appender import Appender
from listener.dialogue import Desk
from listener.intake import Intake
from listener.position import position
from listener.publishing import Publishing
from listener.server import Source, Sources
from listener.stats import ListenerStats
from listener.watcher import Watcher
from runtime.context import Context
from runtime.edge.listen import listen
from runtime.outage import Outage
from runtime.readiness import Facts, Readiness, Status
from runtime.report import Reporter, service_name
from runtime.service import conclude, run, shown, until_one_ends


async def main(context: Context, stop: asyncio.Event) -> None:
    """Serve sources until told to stop, or until a part of the service fails: then the same steps, in haste."""
    settings, stats, readiness = context.settings, ListenerStats(), Readiness()
    sources = Sources(context)
    intake = Intake(settings.listener_buffer_bytes, sources.rest)
    appender = Appender(context, intake, Outage(context, readiness), stats)
    watcher = Watcher(context, appender.writer, lambda: appender.link, stats)
    desk = Desk(settings, appender, watcher, sources.log, stats)
    publishing = Publishing(context, desk, sources.has_room, lambda: Source(sources, appender, desk, proxied=False))

    def observe() -> ListenerStats:
        sources.observe(stats)
        watcher.observe(stats)
        stats.held_bytes = intake.held_bytes + publishing.held_bytes
        return stats

    async def facts() -> Facts:
        return await position(appender.link, settings)

    status = Status(readiness, observe, checks=(appender.why_stuck,), facts=facts)
    reporter = Reporter(context, service_name("listener"), status, lambda: appender.link)
    async with shown("listener", context, status), publishing.served():
        port = settings.event_port
        server = await listen(context, lambda: Source(sources, appender, desk), port, 1024, sources.limits)
        appending = asyncio.create_task(appender.run())
        reporting = asyncio.create_task(reporter.run())
        watching = asyncio.create_task(watcher.run())
        problem = await until_one_ends(stop, appending, reporting, watching)

        # 1. No new sources and requests; 2. what the connected ones have sent is read; 3. no new bytes; 4. everything
        # read is handed to Redis, within the deadline; 5. those who want to know are told.
        readiness.lacks("stopping", "the listener stops")
        server.close()
        publishing.stop()
        await sources.read_to_a_pause(settings.shutdown_s / 2 if problem is None else 0)
        sources.close()
        appender.drain()
        await asyncio.wait([appending], timeout=settings.shutdown_s / 2)
        if not appending.done():
            context.log.error("events_not_handed_over", bytes=intake.held_bytes)
        await sources.part()
        watching.cancel()
        reporting.cancel()
        await reporter.withdraw()
        appender.close()
        sources.log.close()
        await conclude(problem, appending)


if __name__ == "__main__":
    run("listener", main)
