"""What a listener counts. Names end in their unit."""

from collections import Counter
from dataclasses import dataclass

from runtime.stats import Histogram, by_reason, counter, gauge, histogram


@dataclass
class ListenerStats:
    sources: int = gauge("event sources that are connected")
    acknowledged_sources: int = gauge("event sources that get acknowledgements")
    producers: int = gauge("of these, sources that have a producer's name")
    received_bytes: int = counter("bytes of whole lines taken from sources")
    received_lines: int = counter("whole lines taken from sources")
    refused_lines: int = counter("lines refused before they reached the stream: too long, or without an end")
    acks: int = counter("acknowledgements written (ACK lines)")
    naks: Counter[str] = by_reason(
        "refused lines of which an acknowledged source was told", "malformed", "too-long", "numbered", "unnumbered"
    )
    requests: Counter[str] = by_reason(
        "requests on the web port that were answered, by their status",
        "101",
        "200",
        "400",
        "409",
        "413",
        "429",
        "503",
        "504",
    )
    fenced: int = counter("connections of producers that a newer one has taken over from")
    resets: int = counter("times that a source was told to send again, since Redis came back older")
    held_bytes: int = gauge("bytes read from sources and requests, and not appended to the stream yet")
    paused: int = gauge("1 while no source is read, because the stream or the buffer is full")
    backlog_bytes: int = gauge("event bytes in the stream that no batch has consumed, at the last append")
    entries: int = counter("stream entries appended")
    append_errors: int = counter("times that Redis was lost or refused an append")
    append_seconds: Histogram = histogram("time that an append took in Redis and on the way there and back")
    peers: Counter[str] = by_reason("what happened to connections: connected, refused, and why")
