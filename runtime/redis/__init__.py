"""The link to Redis.

link.py       one asyncio connection, for the hot paths
blocking.py   the commands' blocking client
url.py        Redis URLs (pure)
tls.py        what a `rediss://` URL says about TLS
checks.py     what Parade needs of a server (pure)
data.py       making sense of what keys hold (pure)
refusals.py   errors of Redis in the operator's words
"""
