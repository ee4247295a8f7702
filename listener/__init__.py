"""TCP 9090: takes event lines from sources and appends them to the Redis stream, as they are.

server.py     sockets: frames each source's bytes, hands whole lines to the intake
intake.py     the bounded buffer between them, pure
appender.py   takes chunks from the intake and appends them, one XADD at a time
append.lua    the append itself
"""
