"""The dashboard.

server.py        the page and its stream of events
dashboard.html   the page
live.py          one look a second for all viewers
access.py        who may see the page (pure)
password.py      slows down guessing (pure)
seats.py         viewers, shared between addresses (pure)
"""
