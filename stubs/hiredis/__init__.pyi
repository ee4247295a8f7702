"""The part of hiredis that Parade uses.

The package's own stubs give every answer the type `Any`, and let a command have one word only.
"""

from typing import Literal, TypeAlias

class HiredisError(Exception): ...
class ProtocolError(HiredisError): ...
class ReplyError(HiredisError): ...

Reply: TypeAlias = bytes | int | ReplyError | list[Reply] | None
"""An answer in RESP2, the version that a connection speaks until it sends HELLO 3."""

class Reader:
    def feed(self, data: bytes, /) -> None: ...
    def gets(self) -> Reply | Literal[False]:
        """The next answer, or False until all of it has come."""

def pack_command(command: tuple[bytes | str | int | float, ...], /) -> bytes: ...
