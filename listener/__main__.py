"""`python -m listener`: wires settings, sockets and Redis; the only place here that does."""

import asyncio

import structlog

from listener.server import Source, Sources
from runtime.edge.listen import listen
from runtime.readiness import Readiness
from runtime.report import Reporter, service_name
from runtime.service import conclude, run, until_one_ends
from runtime.settings import Settings

log = structlog.get_logger()


async def main(settings: Settings, readiness: Readiness, stop: asyncio.Event) -> None:
    """Serve sources until told to stop, or until a part of the service fails: then the same steps, in haste."""
    sources = Sources(settings, readiness)
    port = (settings.host, settings.event_port)
    server = await listen(lambda: Source(sources), *port, backlog=1024, limits=sources.limits)
    appending = asyncio.create_task(sources.appender.run())
    reporter = Reporter(settings.keys, service_name("listener"), readiness, lambda: sources.appender.link)
    reporting = asyncio.create_task(reporter.run())
    problem = await until_one_ends(stop, appending, reporting)

    # 1. No new sources; 2. what the connected ones have sent is read; 3. no new bytes; 4. everything read is
    # handed to Redis, within the deadline.
    readiness.lacks("stopping", "the listener stops")
    server.close()
    await sources.read_to_a_pause(settings.shutdown_s / 2 if problem is None else 0)
    sources.close()
    sources.appender.drain()
    await asyncio.wait([appending], timeout=settings.shutdown_s / 2)
    if not appending.done():
        log.error("events_not_handed_over", bytes=sources.intake.held_bytes)
    reporting.cancel()
    await reporter.withdraw()
    sources.appender.close()
    sources.log.close()
    await conclude(problem, appending)


if __name__ == "__main__":
    run("listener", main)
