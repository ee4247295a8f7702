"""What every service process is made of. Nothing here knows what a service does.

redis/         the link to Redis: connections, URLs, checks, errors in words
edge/          accepting peers: ports, admission, limits, HTTP

service.py     a service's life: settings, signals, exit status
context.py     what a service takes from outside: connections, time, log, random names
settings.py    every setting: name, default, unit and meaning
agreement.py   which settings the services of one deployment should have in common (pure)
readiness.py   whether a service can do its work, and what it shows of itself (pure)
health.py      `/livez`, `/readyz` and `/metrics` over HTTP
probe.py       asks them, for health checks
report.py      what a service says about itself in Redis
report.lua     keeps it there
stats.py       what services count: counters, gauges, histograms (pure)
metrics.py     the same for Prometheus
outage.py      Redis away and back, logged once each
retry.py       waiting before another try
tasks.py       ending asyncio tasks
logs.py        one event a line, for people or as JSON
printable.py   bytes of peers as text that is safe to show (pure)
errors.py      errors that end a program in one line
"""
