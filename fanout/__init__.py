"""TCP 9099: owns its users' connections and writes to each what the batches say, in order.

server.py      client sockets: registration, and closing those that can't be served
members.py     who is connected here, and from which batch on (pure)
merge.py       one user's lines and the broadcasts, merged by sequence number (pure)
pressure.py    when slow clients make the node wait (pure)
writer.py      a closed batch → one write a connection
feed.py        the subscription: messages gathered until the frame that closes the batch
membership.py  tells the stream who came and left; heartbeats
node.py        one life of a node: all of these together under one id
"""
