"""One active process that puts events into order and decides who is told. Others stand by.

The data's way through a batch:

    leader.py     holds the lease; runs one term after another
    term.py       one term: batch after batch, the next made while the last is committed
    checks.py     whether the Redis server suits
    reader.py     reads stream entries ahead, parsed, in bounded memory
    assembly.py   makes a batch of entries, bounded in every direction
    ordering.py   the waiting map: releases next, next+1, … (pure)
    routing.py    who is told: online users and their outboxes (pure)
    follows.py    whom the online users follow, also while that is still being read (pure)
    loading.py    reads it, in bounded steps
    batch.py      what one batch changes, as the arguments of one script (pure)
    commit.lua    the one atomic step that makes it true
    journal.py    how much of what was published is kept for repair (pure)
    store.py      the Redis commands around it; the lease, renewed beside the work
    window.py     flow control: how far the nodes may be behind (pure)
"""
