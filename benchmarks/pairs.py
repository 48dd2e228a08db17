# SPDX-License-Identifier: Apache-2.0
"""How long do two ways of doing the same work take, in turns, in one process?

    python pairs.py NAME ... --rounds N [--tiny] [--endpoint-url URL --objects FOLDER]

ratios.py runs this command for each pair. The command prints JSON with one entry per name: the
seconds of every round, ours and theirs, and a remark, or the name of the missing peer.

    python pairs.py --against COMMIT [ROW ...] [--rounds N] [--tiny]

This compares this checkout's CPU time with another commit's, see against.py, and prints a table.
The exit code is 1 if a row's 90 % interval is not below the bound.
"""

import argparse
import io
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import official_sdk as official
import operation
import runs
from against import compare
from machine import claim_memory
from peers import MissingPeerError
from side import ROWS
from workload import BUCKET

import s3crypt
from s3crypt import ClientSide, S3Crypt, message
from s3crypt.message import DEFAULT_FRAME_LENGTH

_THREADS = 2
# The memory that the official SDK needs for a message, as a multiple of the message's length.
_OVERALL = 3
# The official SDK is measured at the frame length among these at which it is fastest.
_OFFERED = (4 * 2**10, 64 * 2**10, 256 * 2**10, 2**20)


@dataclass(frozen=True, slots=True)
class Given:
    """The amount of work, and the server.

    Attributes:
        tiny: Do as little as possible, to check only that the code runs.
        endpoint_url: The null server's address.
        objects: The folder of the objects that it serves.
    """

    tiny: bool
    endpoint_url: str | None
    objects: Path | None

    @property
    def times(self) -> int:
        """Return how often a round repeats a run of 8 MiB, so that a round takes about 0.1 s."""
        return 1 if self.tiny else 96

    @property
    def whole(self) -> int:
        """Return the length of a large message in bytes."""
        return 2**20 if self.tiny else 256 * 2**20

    @property
    def small(self) -> int:
        """Return how many small messages or objects a round has."""
        return 2 if self.tiny else 500


@dataclass(frozen=True, slots=True)
class Pair:
    """The work of one round on our side and on the peer's side, and a remark.

    `memory` is the number of bytes that a round touches, or 0 if they are few.
    """

    ours: runs.Work
    theirs: runs.Work
    remark: str = ""
    memory: int = 0


def _codec(
    ours: Callable[[int, int], list[runs.Work]], limit: Callable[[int, int], runs.Work]
) -> Callable[[Given], Pair]:
    def make(given: Given) -> Pair:
        sizes = runs.RUN, DEFAULT_FRAME_LENGTH
        return Pair(
            runs.in_turn(ours(*sizes), given.times), runs.in_turn([limit(*sizes)], given.times)
        )

    return make


def _threads(works: Callable[..., list[runs.Work]]) -> Callable[[Given], Pair]:
    def make(given: Given) -> Pair:
        made = works(runs.RUN, DEFAULT_FRAME_LENGTH, threads=_THREADS)
        pool = ThreadPoolExecutor(_THREADS)
        return Pair(runs.side_by_side(pool, made, given.times), runs.in_turn(made, given.times))

    return make


def _encrypt(frame_length: int | None) -> Callable[[Given], Pair]:
    def make(given: Given) -> Pair:
        data, keys, keyring = os.urandom(given.whole), official.native(), runs.keyring()
        chosen = frame_length or _best(lambda each: lambda: official.encrypt(data, keys, each))
        return Pair(
            lambda: message.encrypt(data, keyring, frame_length=chosen),
            lambda: official.encrypt(data, keys, chosen),
            f"frames of {chosen // 2**10} KiB",
            _OVERALL * given.whole,
        )

    return make


def _decrypt(frame_length: int | None) -> Callable[[Given], Pair]:
    def make(given: Given) -> Pair:
        data, keys, keyring = os.urandom(given.whole), official.native(), runs.keyring()

        def opening(frame_length: int) -> runs.Work:
            sealed = message.encrypt(data, keyring, frame_length=frame_length)
            return lambda: official.decrypt(sealed, keys)

        chosen = frame_length or _best(opening)
        sealed = official.encrypt(data, keys, chosen)
        if message.decrypt(sealed, keyring) != official.decrypt(sealed, keys):
            raise SystemExit("the two do not agree")
        return Pair(
            lambda: message.decrypt(sealed, keyring),
            lambda: official.decrypt(sealed, keys),
            f"frames of {chosen // 2**10} KiB",
            _OVERALL * given.whole,
        )

    return make


def _best(working: Callable[[int], runs.Work]) -> int:
    """Return the frame length in `_OFFERED` at which the work is fastest."""
    return min(_OFFERED, key=lambda frame_length: _seconds(working(frame_length)))


def _read(given: Given) -> Pair:
    """Return the pair that reads a stream in the SDK's default frames, and drops the plaintext."""
    data, keys, keyring = os.urandom(given.whole), official.native(), runs.keyring()
    sealed = official.encrypt(data, keys, 4 * 2**10)
    buffer = bytearray(2**20)

    def ours() -> None:
        with message.DecryptingReader(io.BytesIO(sealed), keyring) as reader:
            while reader.readinto(buffer):
                pass

    def theirs() -> None:
        with official.reading(io.BytesIO(sealed), keys) as reader:
            while reader.read(len(buffer)):
                pass

    return Pair(ours, theirs, "frames of 4 KiB", _OVERALL * given.whole)


def _small_encrypt(given: Given) -> Pair:
    data, keys, keyring = os.urandom(2**10), official.native(), runs.keyring()
    return Pair(
        _often(given, lambda: message.encrypt(data, keyring)),
        _often(given, lambda: official.encrypt(data, keys, 4 * 2**10)),
    )


def _small_decrypt(given: Given) -> Pair:
    keys, keyring = official.native(), runs.keyring()
    sealed = message.encrypt(os.urandom(2**10), keyring)
    return Pair(
        _often(given, lambda: message.decrypt(sealed, keyring)),
        _often(given, lambda: official.decrypt(sealed, keys)),
    )


def _often(given: Given, work: runs.Work) -> runs.Work:
    return runs.in_turn([work], given.small)


def _cached_store(given: Given) -> tuple[Any, S3Crypt]:
    assert given.endpoint_url
    client = operation.client(given.endpoint_url)
    keyring = s3crypt.CachingKeyring(runs.keyring(), max_age=3600)
    return client, S3Crypt(ClientSide(keyring, bind_name=False), client=client)


def _small_put(given: Given) -> Pair:
    client, store = _cached_store(given)
    data, place = os.urandom(2**10), {"Bucket": BUCKET, "Key": "small"}
    return Pair(
        _often(given, lambda: store.put(data, f"s3://{BUCKET}/small")),
        _often(given, lambda: client.put_object(Body=data, **place)),
    )


def _small_get(given: Given) -> Pair:
    client, store = _cached_store(given)
    assert given.objects
    data = os.urandom(2**10)
    (given.objects / "small-plain").write_bytes(data)
    (given.objects / "small-sealed").write_bytes(message.encrypt(data, runs.keyring()))
    place = {"Bucket": BUCKET, "Key": "small-plain"}

    def get_object() -> None:
        client.get_object(**place)["Body"].read()

    return Pair(
        _often(given, lambda: store.read(f"s3://{BUCKET}/small-sealed")),
        _often(given, get_object),
    )


PAIRS: dict[str, Callable[[Given], Pair]] = {
    "codec-seal": _codec(runs.seals, runs.bare_seal),
    "codec-open": _codec(runs.opens, runs.bare_open),
    "threads-seal": _threads(runs.seals),
    "threads-open": _threads(runs.opens),
    "read-4kib": _read,
    "encrypt-best": _encrypt(None),
    "decrypt-best": _decrypt(None),
    "encrypt-4kib": _encrypt(4 * 2**10),
    "decrypt-4kib": _decrypt(4 * 2**10),
    "encrypt-1mib": _encrypt(2**20),
    "decrypt-1mib": _decrypt(2**20),
    "small-encrypt": _small_encrypt,
    "small-decrypt": _small_decrypt,
    "cached-put": _small_put,
    "cached-get": _small_get,
}


def _seconds(work: runs.Work, memory: int = 0) -> float:
    claim_memory(memory)
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(pair: Pair, rounds: int) -> list[tuple[float, float]]:
    """Return the seconds of each round, ours and theirs. The side that starts alternates."""
    pair.ours()
    pair.theirs()
    measured = []
    for number in range(rounds):
        if number % 2:
            theirs = _seconds(pair.theirs, pair.memory)
            ours = _seconds(pair.ours, pair.memory)
        else:
            ours = _seconds(pair.ours, pair.memory)
            theirs = _seconds(pair.theirs, pair.memory)
        measured.append((ours, theirs))
    return measured


def main() -> None:
    """Measure the pairs that the arguments name, and print them."""
    parser = argparse.ArgumentParser(description="Measure pairs.")
    parser.add_argument("names", nargs="*", help=f"{', '.join([*PAIRS, *ROWS])}")
    parser.add_argument("--against", metavar="COMMIT", help="compare with this commit")
    parser.add_argument("--rounds", type=int, help="15 with --against, else 5")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--endpoint-url")
    parser.add_argument("--objects", type=Path, help="where what the null server serves is")
    asked = parser.parse_args()
    unknown = set(asked.names) - set(ROWS if asked.against else PAIRS)
    if unknown or not (asked.names or asked.against):
        parser.error(f"no such rows: {', '.join(sorted(unknown)) or 'none were named'}")
    if asked.against:
        rounds = asked.rounds or 15
        raise SystemExit(compare(asked.against, asked.names or list(ROWS), rounds, tiny=asked.tiny))
    asked.rounds = asked.rounds or 5
    given = Given(asked.tiny, asked.endpoint_url, asked.objects)
    print(json.dumps({name: _said(name, given, asked.rounds) for name in asked.names}))


def _said(name: str, given: Given, rounds: int) -> dict[str, Any]:
    try:
        pair = PAIRS[name](given)
    except MissingPeerError as missing:
        return {"missing": str(missing)}
    return {"rounds": measure(pair, rounds), "remark": pair.remark}


if __name__ == "__main__":
    main()
