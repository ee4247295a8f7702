"""The clients' side of a node.

tcp.py           what a client sends over TCP: its registration, BYE, and input that is ignored
web/             clients that come over HTTP: WebSockets and server-sent events
arrival.py       how a client comes and goes, whatever it speaks: let in, registered in time, refused
registration.py  what a registration line says (pure)
connection.py    a client's connection over any transport: its user, and what it has not taken yet
served.py        what the other parts ask of a connection
newcomer.py      a connection that opted in and is not live yet (pure)
server.py        all clients of the process: limits, those that are behind, draining
spread.py        how clients that are ended, and those that come, are spread over time (pure)
users.py         who is connected here, and from which batch on (pure)
pressure.py      when slow clients make the node wait, and which of them are closed (pure)
offenders.py     which users and addresses were slow within the last minutes (pure)
"""
