"""Faults of all kinds against the whole system, and a proof after each round: nothing lost, nothing twice.

The system runs as processes on a Redis server of its own, every service behind a proxy of its own. While a
source sends and clients come and go, faults strike. Every byte of every connection is compared with the oracle,
which shares no code with the services; at the end Redis must hold the oracle's graph and nothing left over.

    stage.py      the Redis server, the services and their proxies; kills, stops and starts them
    faults.py     every kind of fault: what it does, and how it is healed
    feeder.py     the event source; after a lost connection it goes on from a safe point
    crowd.py      the clients; each connection is checked as its bytes come
    recovery.py   how long after a fault notifications flow again
    round.py      one round: a stream, its faults, and the verdict
    report.py     the verdict of many rounds, for people and as JSON
    scenarios.py  the named scenarios and the random mix

`python -m tests.system.chaos --seed N` repeats a random mix; `make soak` runs it for long.
"""
