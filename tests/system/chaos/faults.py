"""The kinds of faults: what each strikes, for how long, and how it is healed."""

import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from tests.support.proxy import BlackHole, Cut, CutMessage, Delay, DropMessage, Impairment, Late
from tests.system.chaos.stage import RedisServer, Service, Stage

Target = Service | RedisServer


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault in force. `struck` tells whether it has had its effect yet.

    `touched`: the ports of the nodes that it strikes; None: it can stop all of them, or the sources.
    """

    heal: Callable[[], None]
    struck: Callable[[], bool]
    touched: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault. `begin` starts it, or returns None if there is nothing to strike at the moment.

    `hold_s`: the shortest and the longest time until it is healed.
    """

    name: str
    hold_s: tuple[float, float]
    begin: Callable[[Stage, Random], Strike | None]


LONG_S = (2.5, 3.5)
"""Longer than every timeout of the stage: the lease, a node's silence, an answer of Redis."""
SHORT_S = (0.0, 1.0)
PAUSE_S = (1.2, 1.6)
"""Long enough to hold up others, and too short to be expelled."""
STARVED_S = 0.3
"""How long a starved process does not run at a time."""
CUT_S = (0.5, 1.0)
"""Time for the command that a cut waits for."""
REDIS, EVERY = "redis", "every "


def _targets(stage: Stage, target_name: str, rng: Random) -> list[Target]:
    """What to strike: Redis, one service of a role, or all of them; never one with a fault in force."""
    if target_name == REDIS:
        return [] if stage.server.struck else [stage.server]
    if target_name.startswith(EVERY):
        role = target_name.removeprefix(EVERY)
        return [service for service in stage.services if role in ("service", service.role) and not service.struck]
    service = stage.pick(target_name, rng)
    return [] if service is None else [service]


def _strike(targets: list[Target], heal: Callable[[Target], None], struck: Callable[[], bool] = lambda: True) -> Strike:
    for target in targets:
        target.struck = True

    def heal_all() -> None:
        for target in targets:
            heal(target)
            target.struck = False

    return Strike(heal_all, struck, _touched(targets))


def _touched(targets: list[Target]) -> frozenset[int] | None:
    services = [target for target in targets if isinstance(target, Service)]
    if len(services) < len(targets) or any(service.role == "listener" for service in services):
        return None
    return frozenset(service.port for service in services if service.role == "fanout")


def _killed(target_name: str) -> Fault:
    def begin(stage: Stage, rng: Random) -> Strike | None:
        targets = _targets(stage, target_name, rng)
        for target in targets:
            target.process.kill()
        for target in targets:
            target.process.wait()
        return _strike(targets, lambda target: target.start()) if targets else None

    return Fault(f"{target_name} killed", SHORT_S, begin)


def _stopped(target_name: str, words: str = "stopped", hold_s: tuple[float, float] = LONG_S) -> Fault:
    def begin(stage: Stage, rng: Random) -> Strike | None:
        targets = _targets(stage, target_name, rng)
        for target in targets:
            target.process.send_signal(signal.SIGSTOP)
        return _strike(targets, lambda target: target.process.send_signal(signal.SIGCONT)) if targets else None

    return Fault(f"{target_name} {words}", hold_s, begin)


def _starved(target_name: str) -> Fault:
    """Runs 15 % of the time."""

    def begin(stage: Stage, rng: Random) -> Strike | None:
        targets = _targets(stage, target_name, rng)
        halt = threading.Event()

        def starve(process: "subprocess.Popen[bytes]") -> None:
            while not halt.is_set():
                process.send_signal(signal.SIGSTOP)
                halt.wait(STARVED_S)
                process.send_signal(signal.SIGCONT)
                halt.wait(STARVED_S * 15 / 85)

        threads = [threading.Thread(target=starve, args=(target.process,), daemon=True) for target in targets]
        for thread in threads:
            thread.start()

        def heal(_: Target) -> None:
            halt.set()
            for thread in threads:
                thread.join()

        return _strike(targets, heal) if targets else None

    return Fault(f"{target_name} starved", LONG_S, begin)


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
    """Cuts all connections between one service and Redis."""

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
    faults += [_stopped("fanout", "stopped for a moment", PAUSE_S), _starved("fanout")]
    for role, purpose, wanted in CUTS:
        for where, words in PLACES.items():
            what = f"cut {words}" + f" ({purpose})" * bool(purpose)
            faults.append(_impaired(role, what, CUT_S, partial(Cut, where, purpose, wanted)))
    faults.append(_impaired("fanout", "cut in a message", CUT_S, partial(CutMessage, "subscribe")))
    faults.append(_impaired("fanout", "a frame lost", CUT_S, partial(DropMessage, b"batch=", "subscribe")))
    return faults


FAULTS = {fault.name: fault for fault in _all()}
