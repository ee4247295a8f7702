"""Benchmarks of the whole system.

`__main__.py` is `make bench`, `compare.py` is `make bench-compare`, `plots.py` is `make bench-plots`.

    cases.py               the loads that are measured
    measure.py             one run of one case
    summary.py             medians over the runs of a case, as JSON and as a table
    system_under_test.py   `parade up` on free ports, and what its processes use
    idle.py                what idle connections cost
    author.py              what the posts of a much-followed author cost
    crowds.py              take-over, joins and gaps (`python -m tests.bench.crowds`)
    protocol.py            acknowledgements, numbers by Parade, away users (`python -m tests.bench.protocol`)
    transports.py          a node's CPU time over TCP, WebSocket and SSE (`python -m tests.bench.transports`)
    compare.py             compares two revisions
    plots.py               draws the figures
"""
