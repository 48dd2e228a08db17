# SPDX-License-Identifier: Apache-2.0
"""One checkout's side of `pairs.py --against`: does a row's work once per line of input.

    python side.py CHECKOUT FOLDER make [--tiny]
    python side.py CHECKOUT FOLDER ROW --endpoint-url URL [--tiny]

PYTHONPATH begins with CHECKOUT, and the process ends at once if it imported another s3crypt. `make`
writes the plaintext and the sealed objects, and prints the objects' headers as JSON. A row's
process prints a line after its warm-up, and then the CPU seconds, user and system, of each
repetition.
"""

import argparse
import gc
import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import boto3
import datasets
import runs
import workload
from workload import BUCKET

import s3crypt
from s3crypt import ClientSide, S3Crypt, message
from s3crypt.message import DEFAULT_FRAME_LENGTH

_MIB = 2**20
LARGE, SMALL = "large", "small"
_SMALL_LENGTH = 2**10
_RANGE_LENGTH = 100_000


@dataclass(frozen=True, slots=True)
class Given:
    """The input of a row's work.

    Attributes:
        checkout: The folder of the commit's files.
        folder: The folder of the plaintext and of written files.
        endpoint_url: The null server's address.
        tiny: Do as little as possible, to check only that the code runs.
    """

    checkout: Path
    folder: Path
    endpoint_url: str
    tiny: bool

    @property
    def whole(self) -> int:
        """Return the length in bytes of a message that is sealed and opened in memory."""
        return _MIB if self.tiny else 256 * _MIB

    @property
    def large(self) -> int:
        """Return the length in bytes of a large file. It is not a multiple of a frame's length."""
        return (17 if self.tiny else 1024) * _MIB - 1000

    def often(self, times: int, work: runs.Work) -> runs.Work:
        """Return the work repeated `times` times."""
        return runs.in_turn([work], 2 if self.tiny else times)

    def store(self) -> S3Crypt:
        """Return a store that makes its own client, as a caller's store does."""
        mode = ClientSide(runs.keyring(), bind_name=False)
        return S3Crypt(mode, session=boto3.Session(), endpoint_url=self.endpoint_url)


def _seal(given: Given) -> runs.Work:
    data, keyring = os.urandom(given.whole), runs.keyring()
    return lambda: message.encrypt(data, keyring)


def _open(given: Given) -> runs.Work:
    keyring = runs.keyring()
    sealed = message.encrypt(os.urandom(given.whole), keyring)
    return lambda: message.decrypt(sealed, keyring)


def _small_encrypt(given: Given) -> runs.Work:
    data, keyring = os.urandom(_SMALL_LENGTH), runs.keyring()
    return given.often(3000, lambda: message.encrypt(data, keyring))


def _small_decrypt(given: Given) -> runs.Work:
    keyring = runs.keyring()
    sealed = message.encrypt(os.urandom(_SMALL_LENGTH), keyring)
    return given.often(3000, lambda: message.decrypt(sealed, keyring))


def _small_put(given: Given) -> runs.Work:
    store, data = given.store(), os.urandom(_SMALL_LENGTH)
    return given.often(300, lambda: store.put(data, f"s3://{BUCKET}/put"))


def _small_get(given: Given) -> runs.Work:
    store = given.store()
    return given.often(300, lambda: store.read(f"s3://{BUCKET}/{SMALL}"))


def _put(given: Given) -> runs.Work:
    store, source = given.store(), given.folder / "source"
    return lambda: store.put(source, f"s3://{BUCKET}/put")


def _get(given: Given) -> runs.Work:
    store, target = given.store(), given.folder / f"target-{os.getpid()}"

    def work() -> None:
        store.get(f"s3://{BUCKET}/{LARGE}", target)
        target.unlink()

    return work


def _starts(given: Given) -> list[int]:
    numbers = random.Random("ranges")
    count = 2 if given.tiny else 200
    return [numbers.randrange(given.large - _RANGE_LENGTH) for _ in range(count)]


def _ranges(given: Given) -> runs.Work:
    store, starts = given.store(), _starts(given)

    def work() -> None:
        with store.open(f"s3://{BUCKET}/{LARGE}") as file:
            for start in starts:
                file.seek(start)
                file.read(_RANGE_LENGTH)

    return work


def _range_gets(given: Given) -> runs.Work:
    store, starts = given.store(), _starts(given)[:50]
    uri = f"s3://{BUCKET}/{LARGE}"

    def work() -> None:
        for start in starts:
            store.read(uri, byte_range=f"{start}-{start + _RANGE_LENGTH - 1}")

    return work


def _python(given: Given, *arguments: str) -> runs.Work:
    """Return the work of running a Python process with this checkout's packages."""
    # The command's package is `cli` in a checkout and `s3crypt_cli` in an installation.
    packages = given.folder / f"packages-{os.getpid()}"
    packages.mkdir()
    (packages / "s3crypt_cli").symlink_to(given.checkout / "cli")
    environment = {**os.environ, "PYTHONPATH": f"{given.checkout}:{packages}"}
    command = [sys.executable, *arguments]

    def work() -> None:
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)

    return given.often(10, work)


def _version(given: Given) -> runs.Work:
    return _python(given, "-m", "s3crypt_cli", "--version")


def _first_store(given: Given) -> runs.Work:
    return _python(given, "-c", "import s3crypt; s3crypt.S3Crypt(s3crypt.SSES3())")


ROWS: dict[str, Callable[[Given], runs.Work]] = {
    "seal-256mib": _seal,
    "open-256mib": _open,
    "encrypt-1kib": _small_encrypt,
    "decrypt-1kib": _small_decrypt,
    "put-1kib": _small_put,
    "get-1kib": _small_get,
    "put-1gib": _put,
    "get-1gib": _get,
    "ranges": _ranges,
    "range-gets": _range_gets,
    "version": _version,
    "first-store": _first_store,
}


def make(given: Given) -> dict[str, dict[str, str]]:
    """Write the plaintext and the objects to serve. Return the headers of the objects."""
    source, small = given.folder / "source", given.folder / "small-source"
    workload.make_source(source, given.large)
    workload.make_source(small, _SMALL_LENGTH)
    return {
        f"{BUCKET}/{name}": datasets.seal(plain, given.folder / name, DEFAULT_FRAME_LENGTH)
        for name, plain in ((LARGE, source), (SMALL, small))
    }


def _used() -> float:
    # getrusage counts microseconds. os.times, in contrast, counts only hundredths of a second.
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _cpu_seconds(work: runs.Work) -> float:
    # The garbage of the previous round is collected here, so it does not cost time in this round.
    gc.collect()
    before = _used()
    work()
    return _used() - before


def main() -> None:
    """Make the objects, or measure the row that the arguments name."""
    parser = argparse.ArgumentParser(description="Measure one side.")
    parser.add_argument("checkout", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("row", choices=["make", *ROWS])
    parser.add_argument("--endpoint-url", default="")
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args()
    if Path(s3crypt.__file__).resolve().parents[1] != asked.checkout.resolve():
        raise SystemExit(f"{s3crypt.__file__} was imported, not the one in {asked.checkout}")
    given = Given(asked.checkout, asked.folder, asked.endpoint_url, asked.tiny)
    if asked.row == "make":
        print(json.dumps(make(given)))
        return
    work = ROWS[asked.row](given)
    work()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(_cpu_seconds(work), flush=True)


if __name__ == "__main__":
    main()
