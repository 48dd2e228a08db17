# SPDX-License-Identifier: Apache-2.0
"""Run a loopback proxy that limits the rate and adds latency: the server seems as far as S3.

    python paced.py PORT [--rate 25MiB] [--latency 0.03]

The proxy relays every connection to 127.0.0.1:PORT. Each direction of each connection gets `rate`
bytes per second, independent of the other connections, and its bytes arrive half of `latency`
later. A new connection's first bytes arrive another `latency` later, as after TCP's handshake. The
proxy prints one line of JSON with its own port, and ends when its standard input ends.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass

import workload
from timeline import BACKLOG, Timeline, allow_many_connections

_HOST = "127.0.0.1"
_MIB = 2**20
# The largest number of bytes that one read of a socket returns.
_CHUNK = 256 * 2**10


@dataclass(frozen=True, slots=True)
class Pace:
    """The rate and latency of a connection.

    Attributes:
        rate: Bytes per second of each connection and direction.
        latency: Seconds of a round trip.
    """

    rate: float = 25 * _MIB
    latency: float = 0.03

    @property
    def under_way(self) -> int:
        """Return the bytes in flight at the full rate, plus two reads."""
        return int(self.rate * self.latency / 2) + 2 * _CHUNK


@dataclass(frozen=True, slots=True)
class _Relay:
    """The values that all connections of the proxy share.

    Attributes:
        port: The server's port.
        buffer: The buffer for received bytes, which are copied out of it at once.
    """

    port: int
    pace: Pace
    loop: asyncio.AbstractEventLoop
    timeline: Timeline
    buffer: memoryview


class _Direction(asyncio.BufferedProtocol):
    """One direction of a connection.

    Reads from one side, and writes to the other after the delay.
    """

    def __init__(self, relay: _Relay) -> None:
        self._relay = relay
        self._pace = relay.pace
        self._loop = loop = relay.loop
        self._free = loop.time() + relay.pace.latency
        self._pending = 0
        self.transport: asyncio.Transport | None = None
        self.other: _Direction | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        # A large write buffer would hide how much a slow peer has not yet read.
        transport.set_write_buffer_limits(high=_MIB)

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._relay.buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert self.transport
        data = bytes(self._relay.buffer[:nbytes])
        self._free = max(self._loop.time(), self._free) + nbytes / self._pace.rate
        self._pending += nbytes
        if self._pending > self._pace.under_way:
            self.transport.pause_reading()
        self._relay.timeline.call_at(self._free + self._pace.latency / 2, self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        assert self.transport
        assert self.other
        assert self.other.transport
        self._pending -= len(data)
        if not self.other.transport.is_closing():
            self.other.transport.write(data)
        if self._pending <= self._pace.under_way and not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self.other and self.other.transport:
            # The other side is closed only after the bytes that are still in flight.
            due = max(self._loop.time(), self._free) + self._pace.latency / 2
            self._relay.timeline.call_at(due, self.other.end, b"")

    def end(self, _: bytes) -> None:
        """Close this side once all bytes that were written to it are sent."""
        assert self.transport
        self.transport.close()


class _Front(_Direction):
    """The client's side of a connection, which opens the server's side."""

    def __init__(self, relay: _Relay) -> None:
        super().__init__(relay)
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport
        self.transport.pause_reading()
        self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        assert self.transport
        back = _Direction(self._relay)
        back.other, self.other = self, back
        try:
            await self._loop.create_connection(lambda: back, _HOST, self._relay.port)
        except OSError:
            self.transport.abort()
            return
        self.transport.resume_reading()


async def serve(port: int, pace: Pace) -> None:
    """Relay connections until standard input ends."""
    loop = asyncio.get_running_loop()
    relay = _Relay(port, pace, loop, Timeline(loop), memoryview(bytearray(_CHUNK)))
    server = await loop.create_server(lambda: _Front(relay), _HOST, 0, backlog=BACKLOG)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    """Parse the arguments, and run the proxy."""
    parser = argparse.ArgumentParser(description="Be far away.")
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=workload.parse_size, default="25MiB", help="a connection")
    parser.add_argument("--latency", type=float, default=0.03, help="seconds there and back")
    asked = parser.parse_args()
    allow_many_connections()
    asyncio.run(serve(asked.port, Pace(asked.rate, asked.latency)))


if __name__ == "__main__":
    main()
