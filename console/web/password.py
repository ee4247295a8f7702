"""The dashboard's password: guessing is slowed down, and keeps no viewer out. Pure; time is the caller's.

Rules kept here:

- An address may send FREE wrong passwords. After that it waits before its next one is checked, right or wrong: one
  second, then twice as long each time, up to LONGEST_S. After FORGOTTEN_S without a wrong one it starts over.
- Addresses that never sent the right password share EACH_SECOND wrong ones a second, and BURST at once. Those that sent
  it before are exempt, so guesses from very many addresses do not keep them out.
- Up to MOST_ADDRESSES of each kind are remembered, the latest. An IPv6 network (/64) counts as one address, since its
  holder has all of its addresses.
"""

import hmac
import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

FREE = 5
LONGEST_S = 60.0
FORGOTTEN_S = 600.0
EACH_SECOND, BURST = 10.0, 100.0
MOST_ADDRESSES = 1_000


@dataclass(slots=True)
class Wrong:
    """The wrong passwords of an address: how many, when the last, and until when it waits."""

    count: int = 0
    last_s: float = 0.0
    until_s: float = 0.0


class Password:
    """One password and who tried it. All times are seconds of one clock that never goes back."""

    def __init__(self, password: str) -> None:
        self._password = password.encode()
        self._wrong: OrderedDict[str, Wrong] = OrderedDict()
        self._right: OrderedDict[str, None] = OrderedDict()
        self._tries = BURST
        self._counted_s = 0.0

    def wait_s(self, address: str, now_s: float) -> float:
        """Seconds until a password of this address is checked; 0: now."""
        name = network(address)
        wrong = self._wrong.get(name)
        own = wrong.until_s - now_s if wrong else 0.0
        self._tries = min(BURST, self._tries + (now_s - self._counted_s) * EACH_SECOND)
        self._counted_s = now_s
        shared = 0.0 if name in self._right else (1.0 - self._tries) / EACH_SECOND
        return max(own, shared, 0.0)

    def is_right(self, given: bytes, address: str, now_s: float) -> bool:
        """Whether this is the password; remembers the outcome for the address. Only when `wait_s` is 0."""
        name = network(address)
        if hmac.compare_digest(given, self._password):
            _remember(self._right, name, None)
            return True
        wrong = self._wrong.get(name, Wrong())
        if now_s - wrong.last_s > FORGOTTEN_S:
            wrong = Wrong()
        wrong.count += 1
        wrong.last_s = now_s
        if wrong.count > FREE:
            wrong.until_s = now_s + min(2.0 ** min(wrong.count - FREE - 1, 30), LONGEST_S)
        _remember(self._wrong, name, wrong)
        if name not in self._right:
            self._tries -= 1.0
        return False


def network(address: str) -> str:
    """What counts as one address: itself, or its network (/64) for IPv6."""
    try:
        given = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(given, ipaddress.IPv6Address) and given.ipv4_mapped is None:
        return str(ipaddress.ip_network((given, 64), strict=False))
    return str(getattr(given, "ipv4_mapped", None) or given)


def _remember(known: OrderedDict[str, Any], name: str, value: object) -> None:
    known[name] = value
    known.move_to_end(name)
    if len(known) > MOST_ADDRESSES:
        known.popitem(last=False)
