"""Takes the lines out of what a client is sent over HTTP. Pure, strict, and written from docs/protocol.md.

head.py          the head of the answer, and the text of a refusal
frames.py        WebSocket frames, of both sides
websocket.py     one WebSocket: handshake, messages of whole lines, pings, Close
event_stream.py  one answer of server-sent events
text.py          whether bytes are UTF-8
"""
