"""What Parade needs of a Redis server, and what to do where it is missing. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.settings import Settings

OLDEST = (6, 2)
"""XTRIM MINID came with Redis 6.2 (https://redis.io/docs/latest/commands/xtrim/)."""
CONFIG_NAMES = ("client-output-buffer-limit", "save")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not suit. `fatal` means that the promise could not be kept."""

    fatal: bool
    problem: str
    advice: str


def parse_info(answer: bytes) -> dict[str, str]:
    """The fields of an answer to INFO."""
    lines = answer.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def findings(info: Mapping[str, str], config: Mapping[str, str], settings: Settings) -> list[Finding]:
    """Judge a server by its INFO and, where it may be read, its CONFIG."""
    found = [_version(info), _eviction(info), _persistence(info, config, settings), _subscribers(config, settings)]
    return [finding for finding in found if finding is not None]


def _version(info: Mapping[str, str]) -> Finding | None:
    version = info["redis_version"]
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= OLDEST:
        return None
    oldest = ".".join(map(str, OLDEST))
    return Finding(True, f"is version {version}", f"Parade needs {oldest} or newer")


def _eviction(info: Mapping[str, str]) -> Finding | None:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return None
    limited = int(info.get("maxmemory", 0)) > 0
    problem = f"may delete keys when its memory is full (maxmemory-policy {policy})"
    return Finding(limited, problem, "run: redis-cli CONFIG SET maxmemory-policy noeviction")


def _persistence(info: Mapping[str, str], config: Mapping[str, str], settings: Settings) -> Finding | None:
    if not settings.durable or info.get("aof_enabled", "1") == "1":
        return None
    lost = "what came after the last snapshot" if config.get("save") else "everything"
    problem = f"writes no append-only file: a restart loses {lost}"
    return Finding(False, problem, "run: redis-cli CONFIG SET appendonly yes, or set PARADE_DURABLE=false")


def _subscribers(config: Mapping[str, str], settings: Settings) -> Finding | None:
    limits = re.search(r"pubsub (\d+) (\d+) (\d+)", config.get("client-output-buffer-limit", ""))
    if limits is None:
        return None
    hard, soft, seconds = map(int, limits.groups())
    # A node may be a window behind, and a batch may be as large as a window.
    if (hard == 0 or hard >= 4 * settings.window_bytes) and (soft == 0 or soft >= 2 * settings.window_bytes):
        return None
    problem = f"cuts subscribers off that are {hard} bytes behind, or {soft} bytes for {seconds} s"
    wanted = f"'pubsub {8 * settings.window_bytes} {4 * settings.window_bytes} 60'"
    return Finding(False, problem, f"run: redis-cli CONFIG SET client-output-buffer-limit {wanted}")
