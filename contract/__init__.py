"""What the processes agree on: formats only, pure, and without an import from the rest.

keys.py       every Redis key and channel
events.py     the lines that sources send
control.py    control lines, and positions in the order of a deployment
histories.py  earlier histories, and how far each goes on in the present one
entries.py    the entries of the event stream: events, presence (joins and leaves), skips
frames.py     the frame that closes a batch, the journal, and stream ids
reports.py    heartbeats of nodes, reports of services
reports.lua   the same for scripts
"""
