"""Faults of all kinds against the whole system; each round must end with nothing lost and nothing duplicated.

The services run as processes, each behind a separate proxy, on a dedicated Redis server. While sources send and clients
come and go, faults strike. Every byte of every connection is compared with the oracle, which shares no code with the
services; at the end Redis must hold the oracle's graph and no leftovers.

    stage.py      the Redis server, the services and their proxies; kills, stops and starts them
    faults.py     the kinds of faults: what each does, and how it is healed
    feeder.py     the event sources, with acknowledgements and without; after a lost connection they send again
    crowd.py      the clients; each connection is checked as its bytes arrive
    returning.py  the users who come back with their cursors; each is checked over all its connections
    recovery.py   how long after a fault notifications arrive again
    round.py      one round: a stream, its faults, and the verdict
    state.py      what Redis must hold after a round
    totals.py     the verdict of many rounds, for people and as JSON
    numbered.py   rounds where Parade numbers the events of producers, and their scenarios
    scenarios.py  the named scenarios and the random mix

`python -m tests.system.chaos --seed N` repeats a random mix; `make soak` runs it for a long time.
"""
