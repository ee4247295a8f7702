"""What tests of several folders share.

programs.py     the Redis and Valkey programs that are found here
servers.py      starts them on free ports
sentinel.py     a primary, its replicas and three Sentinels
deployment.py   service processes on loopback
peers.py        sources and clients on plain sockets
proxy.py        a proxy that impairs connections to Redis
up.py           `parade up` and other commands as processes
terminal.py     programs on a terminal, and sessions of the documents
browser.py      a headless Chromium
exported.py     what services answer on /metrics
queries.py      the alerts, and the queries of the Grafana dashboard
"""
