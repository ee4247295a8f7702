"""What a listener counts. Names end in their unit."""

from collections import Counter
from dataclasses import dataclass

from runtime.stats import Histogram, by_reason, counter, gauge, histogram


@dataclass
class ListenerStats:
    sources: int = gauge("event sources that are connected")
    received_bytes: int = counter("bytes of whole lines taken from sources")
    received_lines: int = counter("whole lines taken from sources")
    refused_lines: int = counter("lines refused before they reached the stream: too long, or without an end")
    held_bytes: int = gauge("bytes read from sources and not appended to the stream yet")
    paused: int = gauge("1 while no source is read, because the stream or the buffer is full")
    backlog_bytes: int = gauge("event bytes in the stream that no batch has consumed, at the last append")
    entries: int = counter("stream entries appended")
    append_errors: int = counter("times that Redis was lost or refused an append")
    append_seconds: Histogram = histogram("time that an append took in Redis and on the way there and back")
    peers: Counter[str] = by_reason("what happened to connections: connected, refused, and why")
