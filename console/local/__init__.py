"""The whole system on this machine.

up.py         starts everything, waits until it is ready, and stops it in order
ports.py      the ports that it takes
children.py   child processes: watched, started again, stopped
embedded.py   the embedded Valkey server
running.py    where other commands find a `parade up`
"""
