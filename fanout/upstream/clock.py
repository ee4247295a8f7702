"""What time it is in Redis, from the answers to heartbeats. Pure: times are the caller's monotonic seconds."""


class RedisClock:
    """Estimates the difference between Redis time and the local clock.

    An answer says what time it was at some moment between sending the question and hearing the answer; the shorter
    that took, the better. An estimate loses weight with each answer, so that a good one of long ago is replaced in the
    end.
    """

    AGEING = 1.02

    def __init__(self) -> None:
        self._offset_s = 0.0
        self._trip_s = float("inf")

    def learn(self, redis_s: float, sent_s: float, heard_s: float) -> None:
        """Redis said `redis_s` in an answer: it was asked at local time `sent_s` and heard at `heard_s`."""
        self._trip_s *= self.AGEING
        if heard_s - sent_s <= self._trip_s:
            self._trip_s = heard_s - sent_s
            self._offset_s = redis_s - (sent_s + heard_s) / 2

    def age_s(self, redis_ms: int, now_s: float) -> float:
        """How long ago a moment of Redis time was; never negative."""
        return max(0.0, now_s + self._offset_s - redis_ms / 1000)
