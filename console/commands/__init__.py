"""One file for each command: its options and its work.

up.py         the whole system on this machine
simulate.py   event source and clients, checked byte by byte
demo.py       both together
reset.py      deletes what a deployment keeps in Redis
status.py     one look at a deployment
top.py        the same live
dashboard.py  the same as a web page
tap.py        follows what is published
rejected.py   what was refused or skipped
graph.py      followers of a user
skip.py       gives up missing sequence numbers
render.py     an overview as text and tables
"""
