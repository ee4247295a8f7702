"""What comes on the broadcast channel and is not this deployment's: said once, and ignored."""

from contract.frames import Frame, differ
from runtime.logs import Log
from runtime.redis.data import shown

JUNK_ADVICE = "another program publishes there; see which one with: redis-cli CLIENT LIST, and redis-cli MONITOR"
HISTORY_ADVICE = (
    "after `parade reset`, or when the history was renewed, nothing; "
    "else give each deployment a namespace or a database of its own"
)


class Strangers:
    """Knows what is not ours. `history` is the deployment's; empty while it is not known."""

    def __init__(self, log: Log, channel: str, history: bytes) -> None:
        self.history = history
        self._log = log
        self._channel = channel
        self._said: set[str] = set()

    def junk(self, payload: bytes) -> None:
        """This is no frame. If it was a damaged one, the next one shows that a batch is missing."""
        if self._is_new("junk"):
            self._log.warning("not_a_frame", channel=self._channel, message=shown(payload), advice=JUNK_ADVICE)

    def sent(self, frame: Frame) -> bool:
        """Whether a frame is of another deployment."""
        other = frame.lineage.history
        if not differ(other, self.history):
            return False
        if self._is_new("frame"):
            names = {"history": self.history.decode(), "other": other.decode()}
            self._log.warning("frame_of_another_deployment", **names, channel=self._channel, advice=HISTORY_ADVICE)
        return True

    def _is_new(self, what: str) -> bool:
        is_new = what not in self._said
        self._said.add(what)
        return is_new
