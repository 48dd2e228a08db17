# SPDX-License-Identifier: Apache-2.0
"""Buffers in reference cycles: the garbage collector frees them without an error or output.

Each case runs in its own Python process, because a fault ends the interpreter or is only printed.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_BEGIN = """
import gc, io, sys
from s3crypt import IntegrityError, StorageError, message
from s3crypt.keyrings import AESKeyring
from s3crypt.local import buffers as memory
from s3crypt.local.buffers import Buffers
from s3crypt.local.sources import StreamSource
from s3crypt.objects.spans import PlaintextCache
from s3crypt.transfer.parts import PartMaker

KEYRING = AESKeyring("garbage", "key", bytes(range(32)))
def cycle(*held):
    ring = [*held]
    ring.append(ring)
    return ring

def caught(work):
    # The error's traceback has this frame, and this frame has the error.
    try:
        work()
    except (IntegrityError, StorageError, ZeroDivisionError) as error:
        failure = error
        return failure
    raise AssertionError("it was to fail")

def spoiled(length, frame_length=2**20):
    data = bytearray(message.encrypt(bytes(length), KEYRING, frame_length=frame_length))
    data[-1] ^= 1
    return bytes(data)

def broken(view):
    first, last = view[: len(view) // 2], view[len(view) // 2 :]
    1 / 0

class Broken:
    def read(self, size=-1, /):
        raise StorageError("broken")
"""

# Each case makes one cycle with a buffer, for every length that selects a kind of memory.
CASES = {
    "buffers": """
def make(length):
    view = memory.reserve(length)
    return cycle(view, view[: length // 2], view[1:])
""",
    "a result that failed": """
def make(length):
    return caught(lambda: memory.build(length, broken))
""",
    "pieces of a result": """
def make(length):
    pieces = []
    result = memory.build(length, lambda view: pieces.append(view[1:]))
    return cycle(pieces, result)
""",
    "a writable view": """
def make(length):
    source = io.BytesIO(bytes(length))
    view = memory.writable(source)
    return cycle(source, view[:1], view)
""",
    "a worker's buffers": """
def make(length):
    buffers = Buffers()
    buffers.plain_of(length), buffers.sealed_of(length), buffers.resize(length)
    view = memory.writable(buffers.part)
    return cycle(buffers, view[:1])
""",
    "a part that failed": """
def make(length):
    buffers = Buffers()
    sealer = message.Sealer(KEYRING, frame_length=2**17)
    maker = PartMaker(StreamSource(Broken()), sealer)
    return caught(lambda: maker.make(buffers))
""",
    "messages that were changed": """
def make(length):
    data = spoiled(length)
    return caught(lambda: message.decrypt(data, KEYRING))
""",
    "streams that were left": """
def make(length):
    sealing = message.EncryptingReader(io.BytesIO(bytes(length)), KEYRING)
    sealing.read(1000)
    data = message.encrypt(bytes(length), KEYRING, frame_length=4096)
    opening = message.DecryptingReader(io.BytesIO(data), KEYRING)
    opening.read(100)
    return cycle(sealing, opening)
""",
    "a stream that failed": """
def make(length):
    data = spoiled(length)
    reader = message.DecryptingReader(io.BytesIO(data), KEYRING)
    return caught(reader.readall)
""",
    "ranges that failed": """
class Halves:
    is_far = False

    def __init__(self, length):
        self.size, self.block = 2 * length, length

    def fetch(self, start, end, sink, buffers):
        piece = sink.room(start, 1)
        raise StorageError("broken")

    def fetch_tail(self, length, sink, buffers):
        pass

def make(length):
    reader = PlaintextCache(Halves(length), name="x", limit=0, workers=1)
    return caught(lambda: reader.read_ranges([(0, length), (length, 2 * length)]))
""",
}

_LENGTHS = "(1, 5000, 100_000, 2**20 + 1, 5 * 2**20)"
_COLLECT = f"""
for length in 2 * {_LENGTHS}:
    make(length)
    gc.collect()
"""
# At the end of the interpreter, modules become garbage together with their objects.
_END = f"""
kept = [make(length) for length in {_LENGTHS}]
kept.append(kept)
"""


def run(script: str) -> tuple[int, str]:
    """Return the exit code and the output of a Python that runs the script."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("when", [_COLLECT, _END], ids=["collected", "at the end"])
@pytest.mark.parametrize("case", CASES)
def test_buffers_in_a_cycle_are_freed_in_silence(case: str, when: str) -> None:
    """Freeing a buffer in a cycle causes no crash and prints nothing."""
    assert run(_BEGIN + CASES[case] + when) == (0, "")
