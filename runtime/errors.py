"""Errors that end a program, worded for the person who must act on them.

A `ParadeError` is printed as one line and sets the exit status; it never shows a traceback.
"""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as of a program that the signal ended."""


class ParadeError(Exception):
    """What is wrong and what to do about it, in one line."""

    exit_status = 1


class RedisUnavailableError(ParadeError):
    """Redis can't be reached, refused us, or went away. Services retry; commands give up."""


class RedisRightsError(RedisUnavailableError):
    """The Redis user lacks a right. Services wait until it is granted, commands give up."""


class RedisUnsuitableError(ParadeError):
    """The server answers but can't do the job (too old, for example). Retrying does not help."""


class RedisDataError(RedisUnavailableError):
    """A key holds what Parade never wrote. Services wait until it is fixed, commands give up."""

    def __init__(self, key: str, problem: str, advice: str) -> None:
        super().__init__(f"{key} {problem}: {advice}")
        self.key = key
