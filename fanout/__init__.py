"""TCP 9099: owns its users' connections and writes to each what the batches say, in order.

clients/     the clients' side: connections, users, and what slow clients cost
upstream/    the side towards Redis: the subscription, heartbeats, joins and leaves

writer.py    a closed batch → one write to each connection; tells a frame's way from end to end
merge.py     one user's lines and the broadcasts, merged by sequence number (pure)
session.py   one node id: catches up, serves, and leaves
node.py      a fanout process: one session after another
balance.py   how many connections a node gives up to emptier nodes (pure)
stats.py     what a node counts
"""
