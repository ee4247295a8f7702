"""Payloads from a seed: half of them UTF-8 text, half any bytes but LF. Pure."""

import random
from dataclasses import dataclass

POOL_BYTES = 128 * 1024
MOST = 64 * 1024
"""The largest size; no line may be longer."""
ALPHABET = 'abcdefghijklmnopqrstuvwxyz 0123456789|,:{}"éüßñ\u0431\u0436\u4e2d\u6587€\u2028\U0001f642'
"""Letters of one to four bytes, and a separator that some programs take for a line end."""
WITHOUT_LF = bytes(byte if byte != 10 else 32 for byte in range(256))


@dataclass(frozen=True, slots=True)
class Sizes:
    """The least and the greatest size of a payload, in bytes."""

    least: int
    most: int


class Payloads:
    """Cuts payloads out of two pools, which is quick enough for millions of them."""

    def __init__(self, seed: int, wanted: Sizes) -> None:
        self._rng = rng = random.Random(seed)
        self._wanted = wanted
        self._raw = rng.randbytes(POOL_BYTES).translate(WITHOUT_LF)
        self._utf8 = "".join(rng.choices(ALPHABET, k=POOL_BYTES)).encode()[: POOL_BYTES + 4]

    def next(self) -> str:
        """A payload, as Latin-1: one character for each byte."""
        uniform, wanted = self._rng.random, self._wanted
        size = wanted.least + int(uniform() * (wanted.most - wanted.least + 1))
        start = int(uniform() * (POOL_BYTES - size))
        if uniform() < 0.5:
            return self._raw[start : start + size].decode("latin-1")
        return self._text(start, size).decode("latin-1")

    def _text(self, start: int, size: int) -> bytes:
        # Whole characters; what is cut off at the ends is made up for.
        whole = self._utf8[start : start + size].decode(errors="ignore").encode()
        return whole + b"." * (size - len(whole))
