"""One active process that puts events into order and decides who is told. Others stand by.

The data's way through a batch:

    leader.py     holds the lease; runs one term after another
    checks.py     whether the Redis server suits
    reader.py     reads stream entries ahead, parsed, in bounded memory
    ordering.py   the waiting map: releases next, next+1, … (pure)
    routing.py    who is told: online users, their outboxes, the authors they follow (pure)
    batch.py      what one batch changes, as the arguments of one script (pure)
    commit.lua    the one atomic step that makes it true
    journal.py    how much of what was published is kept for repair (pure)
    store.py      the Redis commands around it
    window.py     flow control: how far the nodes may be behind (pure)
"""
