# SPDX-License-Identifier: Apache-2.0
"""Lengths of objects that are written as files, and looks at what is stored of them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from samples import names, uploads

import s3crypt

MIB = 2**20
FRAME = 2**18
LONG = 20 * MIB
OLD = b"what was there before"
# Nothing sent yet, and parts sent already.
LENGTHS = (10, LONG)
HANG = 20  # seconds: no test takes a tenth of it, unless something is at fault


def is_empty(s3: Any, bucket: str) -> bool:
    """Return whether a bucket has neither an object nor an upload."""
    return names(s3, bucket) == [] and uploads(s3, bucket) == []


def write_in_pieces(file: Any, data: bytes, seed: int = 0) -> None:
    """Write in pieces of random lengths."""
    chance = random.Random(seed)
    with memoryview(data) as view:
        place = 0
        while place < len(view):
            count = chance.choice((1, 1000, FRAME, FRAME + 1, 3 * MIB))
            assert file.write(view[place : place + count]) == min(count, len(view) - place)
            place += count
            assert file.tell() == min(place, len(view))


def run_script(text: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script in a process of its own, and return what came of it."""
    root = str(Path(s3crypt.__file__).resolve().parents[1])
    return subprocess.run(
        [sys.executable, "-c", text, *arguments],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        check=False,
        timeout=600,
    )
