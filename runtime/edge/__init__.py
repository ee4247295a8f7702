"""Accepting peers.

listen.py           the port, keep-alive, and how many connections the open files allow
port_refusal.py     why a port can't be had, and who has it
admission.py        whether a connection is let in (pure)
proxy_protocol.py   the line by which a load balancer names its client (pure)
rates.py            how often something may happen to one name (pure)
peer_log.py         log lines that peers cause, counted and limited (pure)
origins.py          which web pages may use the web port (pure)
web.py              HTTP that no caller can hold up
"""
