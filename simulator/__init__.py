"""The event source and the user clients, and an oracle that knows what must arrive.

Nothing here uses the services' code: the oracle must not share a mistake with what it judges.

    plan.py       what a simulation is to do
    workload.py   seeded events, in sequence order and in the shuffled order of their arrival
    oracle.py     what each client must receive, computed event by event
    source.py     sends the bytes, on time when a rate is asked for
    clients.py    raw sockets: receives, checks, measures latency
    opening.py    connects everything, and waits until every client is served
    run.py        one simulation from connecting to the verdict
    report.py     the verdict, for people and as JSON
"""
