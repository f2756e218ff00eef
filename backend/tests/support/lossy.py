"""A wire between a client and a server on loopback that can lose the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(slots=True)
class LossyWire:
    """``url`` leads to the server. The next ``losses`` connections break when the server's answer comes."""

    url: str = ""
    losses: int = 0
    lost: int = 0


@asynccontextmanager
async def lossy_wire(to: str) -> AsyncIterator[LossyWire]:
    """A wire to the server at ``to``."""
    wire = LossyWire()
    carriers: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_carry(wire, to, reader, writer))
        carriers.add(task)
        task.add_done_callback(carriers.discard)

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield wire
        finally:
            for task in carriers:
                task.cancel()
            await asyncio.gather(*carriers, return_exceptions=True)


async def _carry(wire: LossyWire, to: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    target = urlsplit(to)
    there, back = await asyncio.open_connection(target.hostname, target.port)
    outward = asyncio.create_task(_pour(reader, back))
    try:
        while data := await there.read(65536):
            if wire.losses > 0:
                wire.losses -= 1
                wire.lost += 1
                break
            writer.write(data)
            await writer.drain()
    finally:
        outward.cancel()
        for end in (writer, back):
            end.close()
        await asyncio.gather(outward, writer.wait_closed(), back.wait_closed(), return_exceptions=True)


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
