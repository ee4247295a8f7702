"""TCP 9090: takes event lines from sources and appends them to the Redis stream, as they are.

The data's way:

    server.py     sockets: each source's bytes, paused while the intake is full
    framing.py    bytes → whole lines (pure)
    intake.py     the bounded buffer between sockets and stream (pure)
    appender.py   takes chunks from the intake and appends them, one XADD at a time
    append.lua    the append itself

    position.py   where the deployment stands, for a source that continues
    stats.py      what a listener counts
"""
