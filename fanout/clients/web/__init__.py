"""Clients that come over HTTP, on the web port.

port.py          what the connections of the port share: origins, encoded broadcasts, requests that have not come yet
client.py        one connection: its request, and what the client says
speaking.py      what it is sent: encoded lines, pings and comments, and its end
request.py       what a request asks for (pure)
answers.py       what HTTP is answered with (pure)
websocket.py     `/ws`: messages of whole lines, pings, and how such a connection ends
messages.py      lines as messages (pure)
event_stream.py  `/events`: server-sent events
blocks.py        lines as server-sent events (pure)
"""
