"""Options that several commands share, and which deployment a command means."""

from typing import Annotated, Any

import typer

from console.local import running
from console.terminal import terminal
from runtime.errors import ParadeError
from runtime.redis.url import redacted
from runtime.settings import Settings, environment_name, load

PORTS = ("event_port", "client_port", "web_port")
PANEL = "Look inside a deployment (of --redis-url, or the `parade up` on this machine)"
"""Heads the commands of that kind in `parade --help`."""

notes = terminal(to_stderr=True, soft_wrap=False)
"""For notes beside a command's output."""


def setting(name: str, *flags: str, show_default: str | None = None) -> Any:
    """An option for a field of Settings: help, default and environment name come from there."""
    field = Settings.model_fields[name]
    return typer.Option(
        *flags,
        help=f"{field.description} \\[env: {environment_name(name)}]",
        show_default=show_default or str(field.default),
    )


Host = Annotated[str | None, setting("host")]
EventPort = Annotated[int | None, setting("event_port")]
ClientPort = Annotated[int | None, setting("client_port")]
WebPort = Annotated[int | None, setting("web_port")]
RedisUrl = Annotated[
    str | None,
    setting("redis_url", show_default=f"that of `parade up` here, or {Settings.model_fields['redis_url'].default}"),
]
Namespace = Annotated[str | None, setting("namespace")]
Events = Annotated[int, typer.Option(envvar="totalEvents", min=1, help="events to send")]
Seed = Annotated[int, typer.Option(envvar="randomSeed", help="the same seed gives the same events")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, for a script")]


def settings_of(**options: Any) -> Settings:
    """Settings with the options that were given."""
    return load(**{name: value for name, value in options.items() if value is not None})


def deployment(**options: Any) -> Settings:
    """Settings of the deployment that a command is about.

    Without a Redis URL from option or environment it is the `parade up` on this machine, if any: the one on the
    event port, else the only one. ParadeError when there are several.
    """
    settings = settings_of(**options)
    if "redis_url" in settings.model_fields_set:
        return settings
    found = running.find(settings.event_port)
    if found is None and "event_port" not in settings.model_fields_set:
        found = _only_one(running.find_all())
    if found is None:
        return settings
    facts = {name: getattr(found, name) for name in ("redis_url", "namespace", *PORTS)}
    new = {name: value for name, value in facts.items() if name not in settings.model_fields_set}
    return settings.model_copy(update=new)


def _only_one(found: list[running.Running]) -> running.Running | None:
    if len(found) > 1:
        each = ", ".join(f"{one.event_port} ({redacted(one.redis_url)})" for one in found)
        which = f"{environment_name('event_port')}, one of {each}, or with --redis-url"
        raise ParadeError(f"several `parade up` run on this machine: say which with {which}")
    return found[0] if found else None
