# SPDX-License-Identifier: Apache-2.0
"""The number of workers, by the service's distance, the rate and the memory."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from relay import relaying

from s3crypt import SSES3, AESKeyring, ClientSide, ConfigError, S3Crypt
from s3crypt.local import distance as distances
from s3crypt.local import memory as module
from s3crypt.local.distance import Distance
from s3crypt.local.memory import UNCOUNTED, Memory, default_limit
from s3crypt.local.width import FAR, NEAR, Width

if TYPE_CHECKING:
    from s3crypt import Mode
    from s3crypt.sandbox import Running

MIB = 2**20
KEYRING = AESKeyring("tests", "width", bytes(range(32)))


def widths(
    most: int, rate: dict[int, float], *, is_far: bool = True, cpu_each: float = 0.0
) -> list[int]:
    """Return the numbers of workers that `Width` wants, one after another.

    Args:
        most: The largest number that is allowed.
        rate: The pieces of work per second for each number of workers.
        is_far: Whether the service is far.
        cpu_each: The CPU seconds of one piece.
    """
    width, now, done, seen = Width(most), 0.0, 0.0, list[int]()
    for _ in range(2000):
        wanted = width.wanted(now, int(done), is_far=is_far, cpu=done * cpu_each)
        if wanted not in seen[-1:]:
            seen.append(wanted)
        now += 0.05
        done += 0.05 * rate[wanted]
    return seen


def test_near_is_as_wide_as_the_cores() -> None:
    """For a near service the number of workers is fixed, whatever the rate."""
    assert widths(64, {NEAR: 1000.0}, is_far=False) == [NEAR]
    assert widths(1, {1: 10.0}, is_far=False) == [1]


def test_far_doubles_while_the_rate_grows() -> None:
    """For a far service the number starts at 16, and doubles while the rate grows."""
    each_ten = {workers: 10.0 * workers for workers in (16, 32, 64, 128, 200)}
    assert widths(200, each_ten) == [16, 32, 64, 128, 200]
    assert widths(10, {10: 100.0}) == [10]


def test_far_goes_back_where_twice_the_workers_bring_nothing() -> None:
    """If twice the workers raise the rate by less than a tenth, the number goes back."""
    assert widths(64, {16: 160.0, 32: 320.0, 64: 330.0}) == [16, 32, 64, 32]
    assert widths(200, {16: 160.0, 32: 320.0, 64: 330.0}) == [16, 32, 64, 32]
    assert widths(200, {16: 160.0, 32: 165.0}) == [16, 32, 16]


def test_far_stays_where_a_core_has_no_time_left() -> None:
    """If the CPU is busy, the number does not grow, even if the rate does."""
    rate = {16: 160.0, 32: 320.0, 64: 640.0}
    assert widths(64, rate, cpu_each=0.001) == [16, 32, 64]
    assert widths(64, rate, cpu_each=0.003) == [16, 32]
    assert widths(64, rate, cpu_each=0.006) == [16]


def test_far_grows_once_a_core_has_time_left() -> None:
    """If the CPU is busy only at the start, by a listing for example, the number grows later."""
    width = Width(64)
    assert width.wanted(0.0, 0, is_far=True, cpu=0.0) == FAR
    assert width.wanted(1.0, 16, is_far=True, cpu=1.0) == FAR
    assert width.wanted(2.0, 32, is_far=True, cpu=1.2) == 2 * FAR
    # The rate while the CPU was busy is not used. The gain is computed from the next rate.
    assert width.wanted(3.0, 96, is_far=True, cpu=1.4) == 4 * FAR


def test_a_rate_is_not_measured_by_a_moment() -> None:
    """The first moments after a change do not count: new workers still open connections."""
    width = Width(64)
    assert width.wanted(0.0, 0, is_far=True) == FAR
    assert width.wanted(0.3, 160, is_far=True) == 2 * FAR
    assert width.wanted(0.36, 192, is_far=True) == 2 * FAR
    assert width.wanted(0.6, 480, is_far=True) == 4 * FAR


def test_width_grows_once_the_distance_is_known() -> None:
    """If the service turns out to be far only later, the number grows then."""
    width = Width(64)
    assert width.wanted(0.0, 0, is_far=False) == NEAR
    assert width.wanted(0.1, 1, is_far=True) == FAR


# --- The distance ------------------------------------------------------------------------------


def test_a_service_that_answers_late_is_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service is far if even its quickest reply takes longer than the limit."""
    monkeypatch.setattr(distances, "FAR_SECONDS", 0.005)
    distance = Distance()
    assert not distance.is_far
    with distance.measured():
        time.sleep(0.02)
    assert distance.is_far
    with distance.measured():
        pass
    assert not distance.is_far


def test_a_failed_request_says_nothing() -> None:
    """A failed request does not change the distance: refusals are quick, and timeouts slow."""
    distance = Distance()

    def fail() -> None:
        with distance.measured():
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - raised above
        fail()
    assert not distance.is_far
    assert distance._quickest is None


def test_work_is_no_distance() -> None:
    """CPU time does not count as distance, such as the time to make a client."""
    distance = Distance()
    with distance.measured():
        until = time.thread_time() + 0.03
        while time.thread_time() < until:
            pass
    assert distance._quickest is not None
    assert distance._quickest < 0.02


_STARVED = """
import os, subprocess, sys, time
from s3crypt.local.distance import Distance
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])  # on the same core
try:
    time.sleep(0.2)
    distance, began = Distance(), time.monotonic()
    with distance.measured():
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
    print(time.monotonic() - began, distance._quickest)
finally:
    busy.kill()
    busy.wait()
"""


@pytest.mark.skipif(
    not (hasattr(os, "sched_setaffinity") and Path("/proc/self/schedstat").exists()),
    reason="only Linux tells how long a thread waited for a core",
)
def test_waiting_for_a_core_is_no_distance() -> None:
    """Waiting for a core on a busy machine does not count as distance."""
    done = subprocess.run(
        [sys.executable, "-c", _STARVED], capture_output=True, text=True, check=True
    )
    took, quickest = map(float, done.stdout.split())
    assert took - 0.2 > 0.05
    assert quickest < (took - 0.2) / 2


# --- Memory ------------------------------------------------------------------------------------


def test_the_default_is_a_quarter_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default, the memory limit is a quarter of the machine's memory, and at most 192 MiB."""
    assert 0 < default_limit() <= 192 * MIB
    monkeypatch.setattr(module, "_machine", lambda: 400 * MIB)
    assert default_limit() == 100 * MIB
    monkeypatch.setattr(module, "_machine", lambda: 2**40)
    assert default_limit() == 192 * MIB


def test_a_cgroup_limits_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cgroup's limit counts as the machine's memory, in either cgroup version."""
    limit = tmp_path / "limit"
    monkeypatch.setattr(module, "_CGROUP_LIMITS", (str(limit), str(tmp_path / "other")))
    limit.write_text("134217728\n")
    assert module._machine() == 128 * MIB
    limit.write_text("max\n")
    assert module._machine() > 128 * MIB


def test_a_share_waits_for_others() -> None:
    """A share waits until the sum of all shares is within the limit."""
    length = 3 * MIB
    memory, held, most = Memory(16 * MIB), [0], [0]
    lock = threading.Lock()

    def work() -> None:
        with memory.share(length):
            with lock:
                held[0] += length
                most[0] = max(most[0], held[0])
            time.sleep(0.01)
            with lock:
                held[0] -= length

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 5 * length


def test_short_buffers_are_not_counted() -> None:
    """Short buffers do not count: there are no more of them than threads."""
    memory = Memory(MIB)
    with memory.share(UNCOUNTED - 1):
        assert [memory.spare(UNCOUNTED) for _ in range(4)] == [True, True, True, False]


def test_further_workers_leave_room_for_a_first_one() -> None:
    """Further workers leave a quarter of the memory free; a first worker gets any share."""
    memory = Memory(8 * MIB)
    assert [memory.spare(2 * MIB) for _ in range(4)] == [True, True, True, False]
    with memory.share(20 * MIB):
        assert not memory.spare(UNCOUNTED)
    for _ in range(4):  # once more than was taken
        memory.give(2 * MIB)
    assert [memory.spare(2 * MIB) for _ in range(4)] == [True, True, True, False]


# --- Transfers ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("far_service")
@pytest.mark.parametrize("size", [8 * MIB, 8 * MIB + 1, 40 * MIB + 17])
@pytest.mark.parametrize("mode", [ClientSide(KEYRING), SSES3()], ids=["client", "sse-s3"])
def test_a_far_service_gets_short_parts(
    mode: Mode, size: int, tmp_path: Path, sandbox: Running, bucket: str
) -> None:
    """A far service gets short parts, so more requests can run in parallel."""
    source, uri = tmp_path / "source", f"s3://{bucket}/x"
    source.write_bytes(random.Random(size).randbytes(size))
    with relaying(sandbox.endpoint_url) as relay:
        store = S3Crypt(mode, client=boto3.client("s3", endpoint_url=relay.url))
        store.put(source, uri)
        lengths = [len(asked.body) for asked in relay.asked if "partNumber" in asked.query]
        store.get(uri, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    if size > 8 * MIB:
        assert max(lengths) <= 5 * MIB + 300 * 1024
        assert len(lengths) == -(-size // (5 * MIB))
    else:
        assert lengths == []


@pytest.mark.usefixtures("far_service")
def test_a_stream_has_parts_of_one_length_near_and_far(
    sandbox: Running, bucket: str, tmp_path: Path
) -> None:
    """A stream has parts of 8 MiB near and far: the first part precedes any request."""
    data = random.Random(1).randbytes(20 * MIB)
    with relaying(sandbox.endpoint_url) as relay:
        store = S3Crypt(SSES3(), client=boto3.client("s3", endpoint_url=relay.url))
        with store.open(f"s3://{bucket}/x", "wb") as file:
            file.write(data)
        lengths = [len(asked.body) for asked in relay.asked if "partNumber" in asked.query]
        store.get(f"s3://{bucket}/x", tmp_path / "target")
    assert sorted(lengths) == [4 * MIB, 8 * MIB, 8 * MIB]
    assert (tmp_path / "target").read_bytes() == data


def test_a_store_takes_little_memory_if_it_is_told(bucket: str, tmp_path: Path) -> None:
    """With max_memory of one byte, the store still works; with 0 bytes it is refused."""
    store = S3Crypt(ClientSide(KEYRING), max_memory=1)
    data = random.Random(2).randbytes(20 * MIB)
    store.put(data, f"s3://{bucket}/x")
    store.get(f"s3://{bucket}/x", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == data
    with pytest.raises(ConfigError, match="at least one byte"):
        S3Crypt(max_memory=0)
