"""A deployment as Redis shows it.

snapshot.py      what Redis says at one moment
compare.py       figures from one snapshot, or from the difference of two
overview.py      the figures: only data
advice.py        what is wrong, and what to do (pure)
redis_calls.py   other questions that commands ask
"""
