"""The `parade` command.

app.py        the commands that run something, and the whole command line
look.py       the commands that look into a deployment: their options
options.py    options that several commands share, and which deployment a command means
up.py         the whole system on this machine, as real processes
children.py   starting, watching and stopping them
embedded.py   the embedded Valkey server, as a process of its own
running.py    where the other commands find a system that `up` runs
files.py      files and folders that others on this machine can not interfere with
redis_client.py  a connection to Redis, as its URL says
redis_calls.py  what the commands ask of Redis
status.py, top.py, tap.py, rejected.py, graph.py, skip.py   the work of those commands
terminal.py   text to a terminal, with nothing in it read as markup
render.py     an overview as text for a terminal
snapshot.py   what Redis says about a deployment at one moment
facts.py      what an overview consists of
overview.py   the overview itself: two snapshots in, everything that is to be shown out
advice.py     what is wrong, and what to do about it
dashboard.py  the web dashboard's server; dashboard.html is its page
live.py       one look a second for all its viewers, and the history of its charts
web_access.py who may see it
"""
