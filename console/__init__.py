"""The `parade` command.

app.py        the commands and their options
up.py         the whole system on this machine, as real processes
children.py   starting, watching and stopping them
embedded.py   the embedded Valkey server, as a process of its own
running.py    where the other commands find a system that `up` runs
redis_calls.py  what the commands ask of Redis
snapshot.py   what Redis says about a deployment at one moment
facts.py      what an overview consists of
overview.py   the overview itself: two snapshots in, everything that is to be shown out
advice.py     what is wrong, and what to do about it
"""
