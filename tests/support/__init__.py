"""What tests of several folders share.

programs.py     finds the Redis and Valkey programs of this machine; skips tests that lack a program
servers.py      starts servers on free ports of loopback
sentinel.py     starts a primary, its replicas and three Sentinels
deployment.py   runs the services as processes, and reads their log and their state in Redis
peers.py        event sources, user clients and health requests on plain sockets
nodes.py        a system whose nodes have a port each
returners.py    users that go on where they were
returning.py    a node without sockets, and a journal written by hand
batches.py      a receiver of batches that keeps them
proxy.py        a TCP proxy that impairs connections to Redis
up.py           runs `parade up` and other commands as processes
terminal.py     runs programs on a terminal, and the console sessions of the documents
browser.py      a headless Chromium
exported.py     the metrics that the services export on /metrics
senders.py      threads that send beside a test
acknowledged.py sources that say HELLO, and producers that go on elsewhere
publishing.py   publishers over HTTP, and a producer that repeats what was not answered
web_sources.py  sources over WebSocket
queries.py      the alert rules, and the queries of the Grafana dashboard
"""
