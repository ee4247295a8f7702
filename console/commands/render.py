"""An overview as text and tables for a terminal of 80 columns and up. Pure: only `rich` renderables."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from console.observe.advice import SILENT_S
from console.observe.overview import CRITICAL, NOTICE, Node, Overview
from runtime.printable import printable
from runtime.redis.url import redacted
from runtime.settings import Settings

BLOCKS = "▁▂▃▄▅▆▇█"
STYLES = {CRITICAL: "bold red", NOTICE: "cyan"}
"""Of severities; the others are yellow."""
BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def header(seen: Overview, settings: Settings, *, answers: bool = True) -> Text:
    """Which deployment this is, and whether it is well; without an answer from Redis it is not."""
    verdict = Text("well", "bold green") if seen.is_well and answers else Text("NOT WELL", "bold red")
    where = f"{redacted(settings.redis_url)}, namespace {printable(settings.namespace)}"
    return Text.assemble(("parade", "bold"), f"  {where}  ", verdict)


def flow(seen: Overview) -> Table:
    """What flows, from two snapshots."""
    return _named(_flow(seen))


def standing(seen: Overview) -> Table:
    """Where the stream stands, and who does the work."""
    return _named([*_order(seen), *_parts(seen)])


def _named(rows: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True, min_width=13)
    table.add_column()
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def _flow(seen: Overview) -> list[tuple[str, str]]:
    rates = seen.rates
    if rates is None:
        return []
    p50, p99 = seen.latency_p50_ms, seen.latency_p99_ms
    latency = "nothing was sent"
    if p50 is not None and p99 is not None:
        latency = f"p50 {p50:,.1f} ms, p99 {p99:,.1f} ms, from arrival in Redis to the client's socket"
    return [
        ("events", f"{rates.received:,.0f}/s in, {rates.released:,.0f}/s released"),
        ("notifications", f"{rates.notifications:,.0f}/s, {size(rates.bytes_out)}/s"),
        ("latency", latency),
    ]


def _order(seen: Overview) -> list[tuple[str, str]]:
    backlog, gap, totals = seen.backlog, seen.gap, seen.totals
    stream = f"{size(backlog.bytes)} in {backlog.entries:,} entries, the oldest {duration(backlog.age_s)} old"
    missing = "none"
    if gap is not None:
        numbers = f"{gap.first}" if gap.first == gap.last else f"{gap.first} to {gap.last}"
        missing = f"{gap.waiting:,} events wait for {numbers}, for {duration(gap.age_s)}"
    dropped = (
        f"{totals.late:,} late, {totals.duplicate:,} duplicate, {totals.rejected:,} rejected, "
        f"{totals.skipped:,} skipped"
    )
    return [
        ("position", f"next {seen.next}, {totals.released:,} released; batch {seen.batch}, epoch {seen.epoch or '-'}"),
        ("backlog", stream if backlog.entries else "none"),
        ("gap", missing),
        ("dropped", dropped),
    ]


def _parts(seen: Overview) -> list[tuple[str, str]]:
    leader = f"{seen.lease} sequences" if seen.lease else "no process sequences"
    standbys = sum(not sequencer.is_leader for sequencer in seen.sequencers)
    paused = sum(listener.is_paused for listener in seen.listeners)
    listening = f"{len(seen.listeners)}, with {seen.sources:,} sources connected" + (
        f"; {paused} paused" if paused else ""
    )
    return [
        ("sequencers", f"{leader}, {standbys} on standby"),
        ("listeners", listening),
        ("nodes", f"{len(seen.nodes)}, with {seen.connections:,} clients{_away(seen)}"),
        ("Redis memory", f"{_memory(seen)}{_journal(seen)}"),
    ]


def _away(seen: Overview) -> str:
    return f"; {seen.places.away:,} users away" if seen.places and seen.places.kept else ""


def _journal(seen: Overview) -> str:
    return f"; the journal reaches back {duration(seen.places.journal_s)}" if seen.places else ""


def _memory(seen: Overview) -> str:
    memory = seen.memory
    if memory is None:
        return "hidden from this Redis user"
    if not memory.most_bytes:
        return f"{size(memory.used_bytes)}, no limit"
    return f"{size(memory.used_bytes)} of {size(memory.most_bytes)}, {memory.policy}"


def nodes(seen: Overview, most: int | None = None) -> RenderableType:
    """One row per node."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("node", no_wrap=True, overflow="ellipsis", max_width=20)
    for name in ("clients", "notif./s", "bytes/s", "behind", "slow", "unsent", "silent"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = seen.nodes if most is None else seen.nodes[:most]
    for node in shown:
        table.add_row(*map(Text, _row(node)), style="yellow" if _is_odd(node) else "")
    hidden = len(seen.nodes) - len(shown)
    return Group(table, Text(f"and {hidden} more", "dim")) if hidden else table


def _is_odd(node: Node) -> bool:
    return node.is_stalled or bool(node.left_behind) or node.silent_s >= SILENT_S or bool(node.not_ready)


def _row(node: Node) -> list[str]:
    return [
        node.id,
        f"{node.connections:,}",
        "-" if node.notifications_per_s is None else f"{node.notifications_per_s:,.0f}",
        "-" if node.bytes_per_s is None else size(node.bytes_per_s),
        f"{node.batches_behind:,} {node.left_behind}".rstrip(),
        f"{node.slow_clients:,}",
        size(node.unsent_bytes),
        duration(node.silent_s),
    ]


def warnings(seen: Overview) -> list[Text]:
    """What is wrong, and what to do about each."""
    lines = []
    for concern in seen.warnings:
        style = STYLES.get(concern.severity, "yellow")
        lines.append(Text.assemble((f"{concern.severity}: ", style), concern.text))
        lines.append(Text(f"  → {concern.advice}", "dim"))
    return lines


def sparkline(values: list[float], width: int) -> str:
    """The last `width` values as blocks, the highest of them as the highest block."""
    shown = values[-width:]
    most = max(shown, default=0.0)
    if most <= 0:
        return BLOCKS[0] * len(shown)
    return "".join(BLOCKS[min(7, int(value / most * 8))] for value in shown)


def size(count: float) -> str:
    """Bytes with a binary unit and two digits or more: `1.5 MiB`, `320 KiB`."""
    unit = 0
    while count >= 1024 and unit < len(BINARY_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.1f} {BINARY_UNITS[unit]}" if unit and count < 10 else f"{count:,.0f} {BINARY_UNITS[unit]}"


def duration(seconds: float) -> str:
    """`0.3 s`, `42 s`, `12 min`, `3.5 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
