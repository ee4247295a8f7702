"""TCP 9090: takes event lines from sources and appends them to the Redis stream, as they are. On the web port, too.

The data's way:

    server.py     sockets: each source's bytes, paused while the intake is full
    framing.py    bytes → whole lines (pure)
    intake.py     the bounded buffer between sockets and stream (pure)
    appender.py   takes chunks from the intake and appends them, one entry at a time
    writer.py     one append: which script it takes, and what its answer means
    append.lua    for lines that nobody counts
    stream.lua    the append itself

For sources that say HELLO, which are told what became of their lines:

    hello.py      their first line, and the lines that they are told (pure)
    dialogue.py   one such source: from HELLO to BYE
    sifting.py    bytes → events and refused lines (pure)
    acks.py       what it has sent, and what it is to be told (pure)
    speaker.py    tells it
    watcher.py    answers HELLO, and looks how the order moves on
    progress.py   what is new from one look to the next (pure)
    groups.py     whose lines an entry has, and what came of each append (pure)
    append_groups.lua  for lines that are counted for a producer, each once
    producers.lua what Redis knows of a producer
    hello.lua     a producer's HELLO, which fences its older connections

    over_websocket.py  a source whose lines come in WebSocket messages, on the web port
    outgoing.py   what it is sent: messages, pings, and Close

For requests over HTTP, which are acknowledged sources of one body:

    publishing.py the web port: its requests, and their answers
    asked.py      what a request asks for, by its headers (pure)
    bodies.py     their bodies, bounded
    posts.py      all requests whose bodies are there: turns, deadlines
    post.py       one request: HELLO, its lines, and what it is told

Beside all this:

    position.py   where the deployment stands, for a source that continues
    stats.py      what a listener counts
"""
