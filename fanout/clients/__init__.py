"""The clients' side of a node.

tcp.py         what a client sends over TCP: its registration, and input that is ignored
connection.py  a client's connection over any transport: its user, and what it has not taken yet
server.py      all clients of the process: limits, those that are behind, draining
users.py       who is connected here, and from which batch on (pure)
pressure.py    when slow clients make the node wait, and which of them are closed (pure)
offenders.py   which users and addresses were slow within the last minutes (pure)
"""
