# SPDX-License-Identifier: Apache-2.0
"""Lengths of objects that are written through open files, and checks of the stored objects."""

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
# With the first length no part is sent before the close, with the second some parts are.
LENGTHS = (10, LONG)
# in seconds, after which a test counts as hanging; a correct test takes less than a tenth
HANG = 20


def is_empty(s3: Any, bucket: str) -> bool:
    """Return whether a bucket has neither an object nor an upload."""
    return names(s3, bucket) == [] and uploads(s3, bucket) == []


def write_in_pieces(file: Any, data: bytes, seed: int = 0) -> None:
    """Write the data in pieces of random lengths."""
    chance = random.Random(seed)
    with memoryview(data) as view:
        place = 0
        while place < len(view):
            count = chance.choice((1, 1000, FRAME, FRAME + 1, 3 * MIB))
            assert file.write(view[place : place + count]) == min(count, len(view) - place)
            place += count
            assert file.tell() == min(place, len(view))


def run_script(text: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script in a separate process, and return its result."""
    root = str(Path(s3crypt.__file__).resolve().parents[1])
    return subprocess.run(
        [sys.executable, "-c", text, *arguments],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        check=False,
        timeout=600,
    )
