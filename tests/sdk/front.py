"""Web transports in front of the scripted server of the conformance kit: WebSocket and server-sent events, as a node
and a listener speak them, with one TCP connection to the kit for each.

Rules kept here:

- What is not a whole line is dropped, since a message and a block hold whole lines.
- How the connection to the kit ends, in order or by a reset, is how the one to the library ends.
"""

import asyncio
import contextlib
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from fanout.clients.web.blocks import BEGINNING, control, events
from fanout.clients.web.messages import is_text

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + BEGINNING
LASTING = b"ERROR a user id"
PLACES = (b"OK", b"RESUMED", b"RESET", b"AT", b"BYE")


@asynccontextmanager
async def in_front_of(port: int, transport: str) -> AsyncIterator[int]:
    """Serve a transport; yields its port."""
    if transport == "websocket":

        async def handle(socket: ServerConnection) -> None:
            await _messages(socket, port)

        async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None, close_timeout=1) as server:
            yield server.sockets[0].getsockname()[1]
    else:

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                await _blocks(reader, writer, port)
            writer.close()

        streams = await asyncio.start_server(answer, "127.0.0.1", 0)
        try:
            yield streams.sockets[0].getsockname()[1]
        finally:
            streams.close()


async def _pump(reader: asyncio.StreamReader, take: Callable[[bytes], Awaitable[None]]) -> bool:
    """Hand on whole lines until the end; returns whether the end came in order."""
    rest = b""
    try:
        while data := await reader.read(65536):
            lines, end, rest = (rest + data).rpartition(b"\n")
            if end:
                await take(lines + end)
    except ConnectionError:
        return False
    return True


async def _both(one: Awaitable[object], other: Awaitable[object]) -> None:
    """Until either of them is done."""
    tasks = [asyncio.ensure_future(one), asyncio.ensure_future(other)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _messages(socket: ServerConnection, port: int) -> None:
    """A connection over WebSocket, from its opening to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def up() -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in socket:
                data = message.encode() if isinstance(message, str) else message
                writer.write(data if data.endswith(b"\n") else data + b"\n")

    async def take(lines: bytes) -> None:
        await socket.send(lines.decode() if is_text(lines) else lines)

    async def down() -> None:
        with contextlib.suppress(ConnectionClosed):
            if await _pump(reader, take):
                await socket.close(1001)
            else:
                socket.transport.abort()

    await _both(up(), down())
    writer.close()


async def _blocks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """A request for server-sent events, from its head to its end."""
    target = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
    query = parse_qs(urlsplit(target).query)
    below, above = await asyncio.open_connection("127.0.0.1", port)
    above.write(f"{query['user'][0]} after={query.get('after', ['now'])[0]}\n".encode())
    history, has_begun = b"", False

    async def take(lines: bytes) -> None:
        nonlocal history, has_begun
        for line in lines.split(b"\n")[:-1]:
            if line.startswith(b"ERROR") and not has_begun:
                status = b"400 Bad Request" if line.startswith(LASTING) else b"503 Service Unavailable"
                text = line.removeprefix(b"ERROR ")
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(text), text))
                continue
            if not has_begun:
                writer.write(HEAD)
            has_begun = True
            block, history = _block(line, history)
            writer.write(block)

    async def down() -> None:
        if not await _pump(below, take):
            writer.transport.abort()

    await _both(reader.read(), down())
    above.close()


def _block(line: bytes, history: bytes) -> tuple[bytes, bytes]:
    if line.partition(b" ")[0] in PLACES:
        return control(line, history)
    if b"|" in line:
        return events(line + b"\n", history), history
    # Nothing that a node would say: another service, or a word of a later version.
    return (b"" if line[:1].isalpha() else b"event: base64\ndata: %b\n\n" % b64encode(line)), history
