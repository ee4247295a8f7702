"""One active process that puts events into order and decides which users are notified. Others stand by.

A batch's way:

    candidate.py  holds the lease, or stands by; runs one term after another
    term.py       one term: batch after batch, the next computed while the last is committed
    reader.py     reads stream entries ahead, in bounded memory
    assembly.py   makes a batch of entries, bounded in every direction (pure)
    ordering.py   the waiting map: releases next, next+1, … (pure)
    routing.py    which users are notified: online users and their outboxes (pure)
    moves.py      who comes and leaves before the first event of a batch (pure)
    away.py       whose place is kept, and who of them is away (pure)
    batch.py      what one batch changes, as the arguments of one script (pure)
    commits.py    one commit under way at a time, and what the nodes have written
    store.py      the lease, loading, committing
    commit.lua    the one atomic step that makes a batch true

Beside it:

    checks.py     whether the Redis server suits, looked at before each term
    beacon.py     a subscription that shows that this process runs
    succession.py when a standby may take over before the lease expires (pure)
    acquire.lua   takes the lease
    renew.lua     renews it beside the work
    history.py    whether the history goes on when a term begins (pure)
    stored.py     reads what the last commit left, and what waits
    state.py      where a deployment stands between two batches (pure)
    gap.py        a missing number: how long, warnings, giving it up (pure)
    follows.py    whom the online users follow, also while that is still being read (pure)
    loading.py    reads it, in bounded steps (pure)
    questions.py  what computing a batch has to ask Redis (pure)
    graph.py      answers the questions
    window.py     flow control: how far the nodes may be behind (pure)
    standings.py  which nodes are waited for, left behind, or to be expelled, and why (pure)
    journal.py    how much of what was published is kept for repair (pure)
    stats.py      what a sequencer counts
"""
