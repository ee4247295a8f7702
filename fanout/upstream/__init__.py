"""A node's side towards Redis.

feed.py        the subscription: messages gathered until the frame that closes the batch
channels.py    the subscription's channels, and their confirmations
reading.py     reads only while there is room
strangers.py   what is not this deployment's (pure)
catch_up.py    what a node or a client missed, read from the journal
search.py      where in the journal a client goes on
heartbeat.py   that the node is alive, and how far it has written
beat.lua       writes a heartbeat, and answers with what is committed
presence.py    posts joins and leaves to the stream; tells a join's way from end to end
announce.lua   posts them, unless they come late from an earlier connection
clock.py       what time it is in Redis (pure)
"""
