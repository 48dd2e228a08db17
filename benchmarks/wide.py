# SPDX-License-Identifier: Apache-2.0
"""Rows of many.py with one large object far away: put and get of 1 GiB at the defaults.

The null server is behind paced.py, at 25 MiB/s per connection and with the delay of the run. The
rows are whole commands, client-side under an AES key. With `--against`, the other commit runs the
same commands.
"""

import json
import sys
from functools import partial
from pathlib import Path

import load
import workload
from rows import Bench, Row, Run, Side
from workload import BUCKET, BenchmarkError

_SIDE = Path(__file__).with_name("side.py")
# The names that side.py gives the plaintext and the object. They have 1 GiB less some bytes.
_SOURCE, _LARGE = "source", "large"
_CONNECTIONS = 32
_PART = 8 * 2**20


class _Far:
    """A null server that serves the large object, behind a relay."""

    def __init__(self, bench: Bench) -> None:
        self.folder = bench.new_folder("wide")
        # With `--against`, the other commit writes the object, so both sides can read it.
        maker = bench.checkouts[-1]
        made: list[str | Path] = [sys.executable, _SIDE, maker.path, self.folder, "make"]
        made += ["--tiny"] * bench.tiny
        described = json.loads(workload.output(made, maker.environment("")))
        self.server = bench.null_server(described)
        self.server.serve(BUCKET, _LARGE).symlink_to(self.folder / _LARGE)
        port = int(self.server.endpoint_url.rpartition(":")[2])
        self.port = bench.relay(port)
        self.size = (self.folder / _SOURCE).stat().st_size


def _far(bench: Bench) -> _Far:
    return bench.once("wide", lambda: _Far(bench))


def _sides(verb: str, bench: Bench) -> list[Side]:
    far = _far(bench)
    target = far.folder / "got"
    uris = {"put": f"s3://{BUCKET}/put", "get": f"s3://{BUCKET}/{_LARGE}"}
    ends = (far.folder / _SOURCE, uris["put"]) if verb == "put" else (uris["get"], target)
    key = f"aes:benchmark/memory={bench.key_file}"
    sides = []
    for checkout in bench.checkouts:
        command = checkout.command(verb, "-q", "--key", key, "--no-bind-name", *ends)
        environment = checkout.environment(f"http://127.0.0.1:{far.port}")
        run = partial(_run, bench, far, command, environment, verb)
        sides.append(Side(checkout.name, run, far.size >> 20))
    return sides


def _run(
    bench: Bench,
    far: _Far,
    command: tuple[str | Path, ...],
    environment: dict[str, str],
    verb: str,
) -> Run:
    target = far.folder / "got"
    target.unlink(missing_ok=True)
    before = far.server.bytes_put()
    with bench.occupied():
        ended = workload.run(command, environment)
    came = target.stat().st_size if verb == "get" else far.server.bytes_put() - before
    if came < far.size:
        raise BenchmarkError(f"{verb} moved {came} bytes of {far.size}")
    return Run(ended.seconds, ended.cpu_seconds, ended.peak_rss)


def _capacity(bench: Bench) -> str:
    far = _far(bench)
    last = min(_PART, far.size) - 1
    words = ("--range", f"0-{last}", "--connections", str(_CONNECTIONS), "--seconds", "2")
    found = load.capacity(far.port, f"/{BUCKET}/{_LARGE}", *words)
    small = load.capacity(far.port, f"/{BUCKET}/{_LARGE}", "--range", "0-1023")
    return (
        f"relay: {found.bytes / 10**6:,.0f} MB/s by {_CONNECTIONS} connections, "
        f"{small.requests:,.0f} small requests/s by 64"
    )


ROWS: tuple[Row, ...] = tuple(
    Row(
        f"wide-{verb}",
        f"{verb} 1 GiB, client-side, 25 MiB/s a connection",
        partial(_sides, verb),
        _capacity,
        unit="MiB/s",
    )
    for verb in ("put", "get")
)
