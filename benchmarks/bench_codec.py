# SPDX-License-Identifier: Apache-2.0
"""How fast are frames compared with the bare cipher, by frame length, threads and suite?

The limits are measured in the same run: AES-GCM alone, a copy, and checksums.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import runs

if TYPE_CHECKING:
    from suite import Measure

_KIB, _MIB = 2**10, 2**20
FRAME_LENGTHS = (4 * _KIB, 16 * _KIB, 64 * _KIB, 256 * _KIB, _MIB, 4 * _MIB)
SIGNED = "0x0578"
# Suite and threads. A signed message is made and read in order, so by one thread.
KINDS = (("0x0478", 1), ("0x0478", 2), (SIGNED, 1))
THREADS = (1, 2)
OURS = {"seal": runs.seals, "open": runs.opens}
LIMITS = {"seal": runs.bare_seal, "open": runs.bare_open}
CHECKSUMS = ("CRC-64/NVME", "CRC-32C", "CRC-32")


def _name(frame_length: int) -> str:
    return f"{frame_length // _KIB}KiB"


@pytest.fixture(scope="session")
def run(tiny: bool) -> int:
    """Return the number of plaintext bytes of one run."""
    return 4 * _MIB if tiny else runs.RUN


def _measured(
    measure: Measure, works: list[runs.Work], verb: str, suite: str, frame_length: int, run: int
) -> None:
    threads = len(works)
    with ThreadPoolExecutor(threads) as pool:
        work = works[0] if threads == 1 else runs.side_by_side(pool, works, 1)
        measure(
            work,
            group=f"{verb} by {threads}",
            size=run * threads,
            direction=verb,
            threads=threads,
            suite=suite,
            frame_length=frame_length,
        )


@pytest.mark.parametrize("frame_length", FRAME_LENGTHS, ids=_name)
@pytest.mark.parametrize(("suite", "threads"), KINDS)
@pytest.mark.parametrize("verb", OURS)
def bench_frames(
    measure: Measure, run: int, verb: str, suite: str, threads: int, frame_length: int
) -> None:
    """Seal or open a run of frames."""
    works = OURS[verb](run, frame_length, threads=threads, signed=suite == SIGNED)
    _measured(measure, works, verb, suite, frame_length, run)


@pytest.mark.parametrize("frame_length", FRAME_LENGTHS, ids=_name)
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("verb", LIMITS)
def bench_limit(measure: Measure, run: int, verb: str, threads: int, frame_length: int) -> None:
    """Call AES-GCM for frames of this length, without any other work."""
    works = [LIMITS[verb](run, frame_length) for _ in range(threads)]
    _measured(measure, works, verb, "limit", frame_length, run)


def bench_copy(measure: Measure, run: int) -> None:
    """Copy the bytes of a run in memory."""
    measure(runs.memcpy(run), group="memory", size=run)


@pytest.mark.parametrize("name", CHECKSUMS)
def bench_checksum(measure: Measure, run: int, name: str) -> None:
    """Compute a checksum of a run's bytes, by awscrt or, for CRC-32, by Python's zlib."""
    measure(runs.checksum(name, run), group="memory", size=run, checksum=name)
