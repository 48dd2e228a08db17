# SPDX-License-Identifier: Apache-2.0
"""Measurements without files or network: the limits of this machine, frames, and small messages.

Frames are sealed and opened in runs, as in transfers: each thread has one buffer of plaintext and
one of frames, and processes them repeatedly. The limit is a loop that only calls
`AESGCM.encrypt_into` and `decrypt_into` on the same buffers, right before or after.
"""

import functools
import io
import itertools
import secrets
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, cast

from awscrt import checksums
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from s3crypt import AESKeyring, message
from s3crypt.errors import IntegrityError

from .measure import Heat, Record, Subject, take_rounds

RUN = 8 * 2**20
FRAME_LENGTHS = (4 * 2**10, 64 * 2**10, 256 * 2**10, 2**20, 4 * 2**20)
SMALL = 2**10
# The most threads that are measured. More threads would share the same memory bus, and each thread
# needs two buffers.
MOST_THREADS = 8
# Offset of the ciphertext in a regular frame, and the length of the tag that follows it.
_SEALED_AT = 16
_TAG_LENGTH = 16
# Target number of rounds. If time is left, a sample has more runs, at most _MOST_RUNS.
_ROUNDS = 15
_MOST_RUNS = 8
_MESSAGES = 40
_LIMIT_RUNS = 4


def measure(record: Record, *, cores: int, seconds: float) -> None:
    """Measure for about `seconds`."""
    threads = thread_counts(cores)
    lanes = [_Lane.make() for _ in range(threads[-1])]
    with ThreadPoolExecutor(threads[-1]) as pool:
        each = seconds / _ROUNDS / (len(FRAME_LENGTHS) + 1)
        contests = [_Contest(length, lanes, pool, threads) for length in FRAME_LENGTHS]
        for contest in contests:
            contest.calibrate(each)
        heats = [Heat(_Limits(lanes[0], record).run), Heat(_Small(record).run)]
        heats += [Heat(functools.partial(contest.run, record)) for contest in contests]
        take_rounds(heats, seconds=seconds)
    for lane in lanes:
        lane.check()


def thread_counts(cores: int) -> tuple[int, ...]:
    """Return those of 1, 2, 4 and 8 that are at most `cores`, and `cores` if it is below 8."""
    most = min(cores, MOST_THREADS)
    return tuple(sorted({count for count in (1, 2, 4, 8) if count <= most} | {most}))


@dataclass(frozen=True, slots=True)
class _Lane:
    """One thread's buffers."""

    original: bytes
    plain: memoryview
    frames: memoryview

    @classmethod
    def make(cls) -> "_Lane":
        """Make the buffers for one run: random plaintext, and room for all its frames."""
        original = secrets.token_bytes(RUN)
        # The shortest frames have the most overhead, so this room suffices for all frame lengths.
        room = RUN // FRAME_LENGTHS[0] * (FRAME_LENGTHS[0] + 64)
        return cls(original, memoryview(bytearray(original)), memoryview(bytearray(room)))

    def check(self) -> None:
        """Check that the plaintext buffer, overwritten by every `open`, still has the original."""
        if self.plain != self.original:
            raise IntegrityError("What was opened is not what was sealed.")


class _Rival(Protocol):
    """Seals and opens one run of a lane."""

    def seal(self, lane: int) -> None:
        """Seal the lane's plaintext into its frames."""

    def open(self, lane: int) -> None:
        """Open the lane's frames, which `seal` made, into its plaintext."""


class _Codec:
    """s3crypt's codec. All threads share one message, whose frame numbers are consecutive."""

    def __init__(self, frame_length: int, lanes: Sequence[_Lane]) -> None:
        keyring = AESKeyring("s3crypt-bench", "random", secrets.token_bytes(32))
        self._sealer = message.Sealer(keyring, frame_length=frame_length)
        header = message.read_header(io.BytesIO(self._sealer.header))
        self._opener = message.Opener(header, keyring)
        self._lanes = lanes
        self._count = RUN // frame_length
        self.stride = self._sealer.geometry.stride
        self._runs = itertools.count()
        self._first = [1] * len(lanes)

    def seal(self, lane: int) -> None:
        # A sealer seals each frame number only once, so every run continues the message.
        first = self._first[lane] = next(self._runs) * self._count + 1
        buffers = self._lanes[lane]
        self._sealer.seal(buffers.plain, buffers.frames, first=first, is_final=False)

    def open(self, lane: int) -> None:
        buffers = self._lanes[lane]
        run = buffers.frames[: self._count * self.stride]
        self._opener.open(run, buffers.plain, first=self._first[lane])


class _Bare:
    """The limit: only the calls of the cipher, on views that were made before the measurement."""

    def __init__(self, frame_length: int, lanes: Sequence[_Lane], stride: int) -> None:
        # Nonces may repeat, since this key protects no data.
        self._cipher = AESGCM(secrets.token_bytes(32))
        self._pieces = [
            [
                (
                    number.to_bytes(12),
                    lane.plain[number * frame_length : (number + 1) * frame_length],
                    lane.frames[number * stride + _SEALED_AT :][: frame_length + _TAG_LENGTH],
                )
                for number in range(RUN // frame_length)
            ]
            for lane in lanes
        ]

    def seal(self, lane: int) -> None:
        encrypt_into = self._cipher.encrypt_into
        for nonce, plain, sealed in self._pieces[lane]:
            encrypt_into(nonce, plain, None, sealed)

    def open(self, lane: int) -> None:
        decrypt_into = self._cipher.decrypt_into
        for nonce, plain, sealed in self._pieces[lane]:
            decrypt_into(nonce, sealed, None, plain)


class _Contest:
    """Measures the codec and its limit at one frame length, with each number of threads."""

    def __init__(
        self,
        frame_length: int,
        lanes: Sequence[_Lane],
        pool: ThreadPoolExecutor,
        threads: Sequence[int],
    ) -> None:
        self._codec = _Codec(frame_length, lanes)
        self._bare = _Bare(frame_length, lanes, self._codec.stride)
        self._frame_length = frame_length
        self._pool = pool
        self._threads = threads
        self._times = 1

    def calibrate(self, seconds: float) -> None:
        """Warm up, and choose the length of samples so that a round takes `seconds`."""
        started = time.perf_counter()
        self.run(Record(), 0)
        fitting = seconds / (time.perf_counter() - started)
        self._times = max(1, min(_MOST_RUNS, int(fitting)))

    def run(self, record: Record, turn: int) -> None:
        """Measure the codec and its limit once with each number of threads.

        Which of the two comes first alternates from round to round.
        """
        alone: dict[str, float] = {}
        for threads in self._threads:
            codec, bare = self._speeds(threads, turn)
            for (what, speed), limit in zip(codec.items(), bare.values(), strict=True):
                one = alone.setdefault(what, speed)
                record.add(
                    self._subject("codec", what, threads),
                    speed,
                    limit=limit,
                    one_thread=one if threads > 1 else None,
                )
                bare_name = {"seal": "encrypt_into", "open": "decrypt_into"}[what]
                record.add(self._subject("limits", bare_name, threads), limit)

    def _speeds(self, threads: int, turn: int) -> tuple[dict[str, float], dict[str, float]]:
        rivals: list[_Rival] = [self._codec, self._bare]
        speeds = {
            id(rival): {
                "seal": self._speed(rival.seal, threads),
                "open": self._speed(rival.open, threads),
            }
            for rival in (rivals if turn % 2 == 0 else reversed(rivals))
        }
        return speeds[id(self._codec)], speeds[id(self._bare)]

    def _speed(self, work: Callable[[int], None], threads: int) -> float:
        started = time.perf_counter()
        tasks = [self._pool.submit(self._repeat, work, lane) for lane in range(threads)]
        for task in tasks:
            task.result()
        return threads * self._times * RUN / (time.perf_counter() - started) / 1e9

    def _repeat(self, work: Callable[[int], None], lane: int) -> None:
        for _ in range(self._times):
            work(lane)

    def _subject(self, group: str, what: str, threads: int) -> Subject:
        return Subject(group, what, "GB/s", self._frame_length, threads)


class _Limits:
    """Measures the speed of a memory copy and of checksums, on one thread and one run."""

    def __init__(self, lane: _Lane, record: Record) -> None:
        self._record = record
        self._actions: dict[str, Callable[[], object]] = {
            "memcpy": lambda: _copy(lane),
            "CRC-64/NVME (awscrt)": lambda: checksums.crc64nvme(_bytes_like(lane.plain)),
            "CRC-32C (awscrt)": lambda: checksums.crc32c(_bytes_like(lane.plain)),
            "CRC-32 (zlib)": lambda: zlib.crc32(lane.plain),
        }

    def run(self, _turn: int) -> None:
        """Measure the copy and each checksum once."""
        for what, action in self._actions.items():
            action()
            started = time.perf_counter()
            for _ in range(_LIMIT_RUNS):
                action()
            speed = _LIMIT_RUNS * RUN / (time.perf_counter() - started) / 1e9
            self._record.add(Subject("limits", what, "GB/s", RUN, 1), speed)


def _copy(lane: _Lane) -> None:
    lane.frames[:RUN] = lane.plain


def _bytes_like(view: memoryview) -> bytes:
    # awscrt declares bytes but accepts any buffer.
    return cast("bytes", view)


class _Small:
    """Measures messages of 1 KiB. Each has its own data key, as always."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._keyring = AESKeyring("s3crypt-bench", "random", secrets.token_bytes(32))
        self._plain = secrets.token_bytes(SMALL)
        self._sealed = message.encrypt(self._plain, self._keyring)
        if message.decrypt(self._sealed, self._keyring) != self._plain:
            raise IntegrityError("What was decrypted is not what was encrypted.")

    def run(self, _turn: int) -> None:
        """Measure encryption and decryption once."""
        self._time("encrypt", lambda: message.encrypt(self._plain, self._keyring))
        self._time("decrypt", lambda: message.decrypt(self._sealed, self._keyring))

    def _time(self, what: str, action: Callable[[], bytes]) -> None:
        started = time.perf_counter()
        for _ in range(_MESSAGES):
            action()
        each = (time.perf_counter() - started) / _MESSAGES * 1e6
        self._record.add(Subject("small", what, "us", SMALL), each)
