"""Simulates an event source and user clients, and checks every byte that arrives against an oracle.

Nothing here uses the services' code: the oracle must not share a mistake with the system that it checks.

    plan.py       the parameters of a simulation
    workload.py   seeded events, in sequence order and in the shuffled order in which they arrive
    payload.py    payloads for the events, UTF-8 and raw
    oracle.py     what each client must receive, computed event by event
    source.py     sends the events, on schedule if a rate is given
    clients.py    the clients' sockets: receives, checksums, measures latency
    opening.py    connects the source and the clients, and waits until every client is served
    receiving.py  the loop that reads the clients and lets the sources send
    run.py        one simulation from connecting to the verdict
    verdict.py    compares what came with what the oracle expects
    report.py     the result, for people and as JSON

Peers that use control lines, with --resume and --acks, and clients over HTTP:

    control.py       control lines and positions, as a peer outside reads them
    address.py       where a deployment is, and how it is talked to
    hello.py         asks the event port where the numbers are
    wire.py          TCP, WebSocket or server-sent events (the last two are in web/)
    dial.py          opens connections without waiting
    timers.py        what is to be done at which time
    cursor.py        the protocol of a client over all its connections
    habits.py        when a client cuts its connection, how, and when it comes back
    returner.py      one client that comes back
    returning.py     the sockets of all such clients
    pieces.py        what a source has sent, and what it has to send again
    ledger.py        the answers that a source gets, and what they mean
    acknowledged.py  the socket of a source that comes back
    producers.py     the events of several producers, and their order once it is known (--producers)
    numbered.py      one simulation with producers
"""
