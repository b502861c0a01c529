"""A server on Python's `websockets`. README.md says what it does."""

import asyncio
import contextlib
import functools
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

say = functools.partial(print, flush=True)
PORT, *OPTIONS = sys.argv[1:]
SEEN = set()


def answer(connection, request):
    say("request", request.path, request.headers.get("Origin", "-"))
    _, what, *code = request.path.split("/")
    connection.first = request.path not in SEEN
    SEEN.add(request.path)
    if what == "status" and connection.first:
        response = connection.respond(int(code[0]), "")
        response.headers["Retry-After"] = "1"
        response.headers["Location"] = "/elsewhere"
        return response
    return None


async def talk(connection):
    path = connection.request.path
    _, what, *code = path.split("/")
    extensions = connection.response.headers.get("Sec-WebSocket-Extensions", "-")
    say("open", path, connection.subprotocol or "-", extensions)
    async with asyncio.TaskGroup() as tasks:
        noise = tasks.create_task(be_noisy(connection)) if what == "noisy" else None
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                if connection.first and what == "vanish":
                    connection.transport.abort()
                elif connection.first and what == "close":
                    await close(connection, int(code[0]))
                else:
                    await connection.send(message)
        if noise:
            noise.cancel()


async def close(connection, code):
    if code != 1005:
        await connection.close(code, "as you wish")
        return
    # Its own way to close always gives a code.
    async with connection.send_context():
        connection.protocol.send_close()


async def be_noisy(connection):
    for number in range(50):
        await connection.pong(f"unasked {number}")
    with contextlib.suppress(ConnectionClosed):
        while True:
            await (await connection.ping())
            say("pong")
            await asyncio.sleep(0.1)


def select(_, offered):
    return "chat" if "chat" in offered else None


async def main():
    compression = "deflate" if "deflate" in OPTIONS else None
    async with serve(talk, "127.0.0.1", int(PORT), process_request=answer, select_subprotocol=select,
                     compression=compression, max_size=16 << 20, ping_interval=None) as server:
        await server.serve_forever()


asyncio.run(main())
