"""Every kind of fault: what it strikes, for how long, and how it is healed."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from tests.support.proxy import BlackHole, Cut, CutMessage, Delay, Impairment, Late, Swallow
from tests.system.chaos.stage import RedisServer, Service, Stage

Target = Service | RedisServer


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault at work. `struck` says whether it has done its damage yet."""

    heal: Callable[[], None]
    struck: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault. `begin` strikes, or returns None when there is nothing that it could strike now.

    `hold_s` is the shortest and the longest time until it is healed.
    """

    name: str
    hold_s: tuple[float, float]
    begin: Callable[[Stage, Random], Strike | None]


LONG_S = (2.5, 3.5)
"""Longer than every deadline of the stage: lease, silence of a node, answer of Redis."""
SHORT_S = (0.0, 1.0)
CUT_S = (0.5, 1.0)
"""Time for the command to come that a cut waits for."""
REDIS, EVERY = "redis", "every "


def _targets(stage: Stage, whom: str, rng: Random) -> list[Target]:
    """Whom to strike: Redis, one service of a role, or every one; none that suffers already."""
    if whom == REDIS:
        return [] if stage.server.struck else [stage.server]
    if whom.startswith(EVERY):
        role = whom.removeprefix(EVERY)
        return [service for service in stage.services if role in ("service", service.role) and not service.struck]
    service = stage.pick(whom, rng)
    return [] if service is None else [service]


def _strike(targets: list[Target], heal: Callable[[Target], None], struck: Callable[[], bool] = lambda: True) -> Strike:
    for target in targets:
        target.struck = True

    def heal_all() -> None:
        for target in targets:
            heal(target)
            target.struck = False

    return Strike(heal_all, struck)


def _killed(whom: str) -> Fault:
    def begin(stage: Stage, rng: Random) -> Strike | None:
        targets = _targets(stage, whom, rng)
        for target in targets:
            target.process.kill()
        for target in targets:
            target.process.wait()
        return _strike(targets, lambda target: target.start()) if targets else None

    return Fault(f"{whom} killed", SHORT_S, begin)


def _stopped(whom: str) -> Fault:
    def begin(stage: Stage, rng: Random) -> Strike | None:
        targets = _targets(stage, whom, rng)
        for target in targets:
            target.process.send_signal(signal.SIGSTOP)
        return _strike(targets, lambda target: target.process.send_signal(signal.SIGCONT)) if targets else None

    return Fault(f"{whom} stopped", LONG_S, begin)


def _impaired(role: str, what: str, hold_s: tuple[float, float], make: Callable[[], Impairment]) -> Fault:
    def begin(stage: Stage, rng: Random) -> Strike | None:
        service = stage.pick(role, rng)
        if service is None:
            return None
        proxy, impairment = service.proxy, make()
        proxy.impair(impairment)
        return _strike([service], lambda _: proxy.heal(impairment), lambda: bool(impairment.struck))

    return Fault(f"{role}: {what}", hold_s, begin)


def _cut_off(role: str) -> Fault:
    """Every connection between one service and Redis ends at once."""

    def begin(stage: Stage, rng: Random) -> Strike | None:
        service = stage.pick(role, rng)
        if service is None or not service.proxy.cut():
            return None
        return _strike([service], lambda _: None)

    return Fault(f"{role}: all connections cut", (0.0, 0.0), begin)


PLACES = {"before": "before a command arrived", "after": "after a command arrived", "inside": "in an answer"}
LOSSES = {"to": ("to_redis",), "from": ("from_redis",), "to and from": ("to_redis", "from_redis")}
CUTS = [
    ("leader", "commit", b"EVALSHA"),
    ("leader", "read", b""),
    ("fanout", "command", b"join\r\n"),
    ("listener", "", b""),
]


def _all() -> list[Fault]:
    faults = [_killed(REDIS), _stopped(REDIS)]
    faults += [_killed(EVERY + role) for role in ("sequencer", "fanout", "listener", "service")]
    for role in ("leader", "standby", "fanout", "listener"):
        faults += [_killed(role), _stopped(role), _cut_off(role)]
        for words, directions in LOSSES.items():
            faults.append(_impaired(role, f"bytes {words} Redis lost", LONG_S, partial(BlackHole, "", directions)))
        faults.append(_impaired(role, "late commands", LONG_S, Late))
        faults.append(_impaired(role, "a slow link", LONG_S, partial(Delay, 0.1)))
    for role, purpose, wanted in CUTS:
        for where, words in PLACES.items():
            what = f"cut {words}" + f" ({purpose})" * bool(purpose)
            faults.append(_impaired(role, what, CUT_S, partial(Cut, where, purpose, wanted)))
    faults.append(_impaired("fanout", "cut in a message", CUT_S, partial(CutMessage, "subscribe")))
    faults.append(_impaired("fanout", "a frame lost", CUT_S, partial(Swallow, b"batch=", "subscribe")))
    return faults


FAULTS = {fault.name: fault for fault in _all()}
