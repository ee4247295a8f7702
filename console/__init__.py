"""The `parade` command.

app.py        the commands and their options
up.py         the whole system on this machine, as real processes
children.py   starting, watching and stopping them
embedded.py   the embedded Valkey server, as a process of its own
running.py    where the other commands find a system that `up` runs
redis_calls.py  what the commands ask of Redis
"""
