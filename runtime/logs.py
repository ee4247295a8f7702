"""Logging: one event name a line, to standard error; for people on a terminal, JSON otherwise.

Everything that a line quotes is escaped here, once: all code of a process logs through one of the two ways below.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Protocol

import structlog

from runtime.printable import printable, printable_all

EXCEPTION = "exception"
"""The field of a traceback, the only one that has several lines."""


class Log(Protocol):
    """Writes one line: the event's name and its fields."""

    def debug(self, event: str, **fields: Any) -> Any: ...

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...

    def error(self, event: str, **fields: Any) -> Any: ...


def configure(service: str, level: str) -> None:
    """Set up structlog for this process and name the service in every line."""
    terminal = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _escape,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        # A line and its end in one write: services can share standard error, and lines must not run together.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(service=service)
    configure_libraries()


def configure_libraries() -> None:
    """Write the warnings of libraries (asyncio, the HTTP server) to standard error, escaped as well."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Escaping())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class _Escaping(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the library's name)
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return _traceback(super().formatException(ei))


def _escape(_: Any, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    traceback = fields.pop(EXCEPTION, None)
    escaped: dict[str, Any] = printable_all(dict(fields))
    if traceback is not None:
        escaped[EXCEPTION] = _traceback(str(traceback))
    return escaped


def _traceback(text: str) -> str:
    # Indented, so that no line of an error's text can pass for a line of the log.
    return "\n".join(f"  {printable(line)}" for line in text.split("\n"))
