"""A client on Python's `websockets`. README.md says what it does."""

import asyncio
import functools
import logging
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

say = functools.partial(print, flush=True)
URL, *OPTIONS = sys.argv[1:]
BIG = {str: "x" * 5_000_000, bytes: b"\xff" * 5_000_000}


def every(name):
    return [option.removeprefix(f"{name}=") for option in OPTIONS if option.startswith(f"{name}=")]


class Pongs(logging.Handler):
    """Its own keepalive tells of pongs in the log only."""

    def emit(self, record):
        if "received keepalive pong" in record.getMessage():
            say("pong")


async def obey(connection):
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().rstrip("\n"):
        name, _, rest = line.partition(" ")
        if name == "text":
            await connection.send(rest)
        elif name == "big":
            for message in BIG.values():
                await connection.send(message)
        elif name == "pongs":
            for number in range(50):
                await connection.pong(f"unasked {number}")
        elif name == "close":
            await connection.close(int(rest))


async def main():
    ping = float(every("ping")[0]) if every("ping") else None
    logger = logging.getLogger("websockets.client")
    if ping:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(Pongs())
        logger.propagate = False
    compression = "deflate" if "deflate" in OPTIONS else None
    try:
        connection = await connect(URL, origin=(every("origin") or [None])[0], subprotocols=every("protocol") or None,
                                   compression=compression, max_size=16 << 20, ping_interval=ping, ping_timeout=2,
                                   proxy=None)
    except InvalidStatus as refused:
        say("refused", refused.response.status_code, refused.response.headers.get("Retry-After", "-"))
        return
    extensions = connection.response.headers.get("Sec-WebSocket-Extensions", "-")
    say("open", connection.subprotocol or "-", extensions)
    commands = asyncio.create_task(obey(connection))
    try:
        while True:
            message = await connection.recv()
            if len(message) < len(BIG[str]):
                say("text", message)
            elif message == BIG[type(message)]:
                say("big", "text" if isinstance(message, str) else "binary")
    except ConnectionClosed:
        say("closed", connection.close_code)
    commands.cancel()


asyncio.run(main())
