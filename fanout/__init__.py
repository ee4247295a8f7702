"""TCP 9099: owns its users' connections and writes to each what the batches say, in order.

clients/     the clients' side: connections, users, and what slow clients cost
upstream/    the side towards Redis: the subscription, heartbeats, joins and leaves

writer.py    a closed batch → one write to each connection; tells a frame's way from end to end
merge.py     one user's lines and the broadcasts, merged by sequence number (pure)
resume.py    where clients that opted in go on; tells such a client's way from end to end
sweep.py     one reading of the journal for all of them
stretch.py   batches in a row as one larger batch (pure)
measure.py   how much they have missed
marks.py     position marks for those that are quiet
session.py   one node id: catches up, serves, and leaves
node.py      a fanout process: one session after another
balance.py   how many connections a node gives up to emptier nodes (pure)
stats.py     what a node counts
"""
