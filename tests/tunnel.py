"""A way to a server on loopback that ends TLS where it is asked to, and counts who comes."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.certificates import Certificate


class Tunnel:
    """Leads to 127.0.0.1:`to`; `count` connections have come so far."""

    def __init__(self, to: int = 0) -> None:
        self.to = to
        self.port = 0
        self.count = 0

    async def lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side hangs up."""
        self.count += 1
        try:
            inner, outer = await asyncio.open_connection("127.0.0.1", self.to)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pumped(reader, outer))
                group.create_task(_pumped(inner, writer))
        except* OSError:
            pass  # whoever hangs up in the middle is what some tests are about
        finally:
            writer.close()


@asynccontextmanager
async def tunnel(to: int = 0, certificate: Certificate | None = None) -> AsyncIterator[Tunnel]:
    """A tunnel for the length of a block; with a certificate it speaks TLS."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
    made = Tunnel(to)
    server = await asyncio.start_server(made.lead, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


async def _pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
