# SPDX-License-Identifier: Apache-2.0
"""Read a data set in one Parquet file, sealed and plain. ratios.py runs this.

    python datasets.py make FOLDER [--size 1GiB] [--frame-length 256KiB ...]
    python datasets.py columns --endpoint-url URL [--rounds 5] [--warm-up 1]
    python datasets.py sequence HOW --endpoint-url URL
    python datasets.py objects FOLDER [--objects 10000]
    python datasets.py listing FOLDER --endpoint-url URL [--rounds 1]

Each command prints JSON. `columns` reads two columns of twenty through `S3Crypt.open` and through
plain boto3, in turns in one process, with the same calls of pyarrow. `sequence` reads all of the
sealed file through `S3Crypt.open`. `objects` makes many small objects. `listing` lists them with
the file system, with plaintext sizes, and with boto3, with stored sizes.
"""

import argparse
import importlib
import io
import json
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import boto3
import operation
import workload
from botocore.awsrequest import AWSResponse, HeadersDict
from machine import claim_memory
from peers import MissingPeerError
from workload import BUCKET, BenchmarkError, parse_size, size_name

from s3crypt import S3Crypt, message
from s3crypt.message import DEFAULT_FRAME_LENGTH

_MIB = 2**20
PLAIN = "plain.parquet"
COLUMNS = tuple(f"c{number:02}" for number in range(20))
# The two columns that are read. They are not neighbours, and they have different types.
CHOSEN = ("c03", "c14")
# The rows per group by pyarrow's default: a column chunk has 8 MiB.
GROUP_ROWS = 2**20
# The rows per group by DuckDB's default: a column chunk has 960 KiB.
SMALL_GROUP_ROWS = 122_880
# Reading two columns takes this multiple of their bytes in memory: for the ciphertext, the
# plaintext and the table.
_OVERALL = 4


def sealed_name(frame_length: int) -> str:
    """Return the name of the object that is sealed in frames of this length."""
    return f"sealed-{size_name(frame_length)}.parquet"


# --- making them -------------------------------------------------------------------------------


def _pyarrow(module: str = "pyarrow") -> Any:
    """Import and return a module of pyarrow, which is large and may be missing.

    Raises:
        MissingPeerError: pyarrow is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingPeerError("pyarrow is missing: pip install pyarrow") from None


def make(path: Path, size: int, group_rows: int = GROUP_ROWS) -> None:
    """Write a Parquet file of about `size` bytes: random numbers, which do not compress.

    The numbers come from a fixed seed. All settings but the rows per group are pyarrow's defaults.
    Only one group is in memory.
    """
    pa, pq = _pyarrow(), _pyarrow("pyarrow.parquet")
    kinds = [pa.float64() if number % 2 else pa.int64() for number in range(len(COLUMNS))]
    schema = pa.schema(list(zip(COLUMNS, kinds, strict=True)))
    numbers = random.Random(size)
    left = max(1, size // (8 * len(COLUMNS)))
    with pq.ParquetWriter(path, schema) as writer:
        while left:
            rows = min(group_rows, left)
            columns = [_column(numbers, rows, kind) for kind in kinds]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=rows)
            left -= rows


def _column(numbers: random.Random, rows: int, kind: Any) -> Any:
    pa, pc = _pyarrow(), _pyarrow("pyarrow.compute")
    drawn = pa.py_buffer(numbers.randbytes(8 * rows))
    whole = pa.Array.from_buffers(pa.int64(), rows, [None, drawn])
    if kind == whole.type:
        return whole
    # The numbers are scaled to between -1 and 1: random bits taken as floats would include NaN.
    return pc.multiply(whole.cast(kind, safe=False), 2.0**-63)


def seal(source: Path, target: Path, frame_length: int) -> dict[str, str]:
    """Encrypt a file into a message. Return the headers of an object with this message."""
    with source.open("rb") as plain, target.open("wb") as sealed:
        reader = message.EncryptingReader(plain, operation.keyring(), frame_length=frame_length)
        while data := reader.read(_MIB):
            sealed.write(data)
    return headers(frame_length)


def headers(frame_length: int) -> dict[str, str]:
    """Return the headers of a sealed object. They depend neither on its content nor on its size."""
    sealer = message.Sealer(operation.keyring(), frame_length=frame_length)
    # The names are written out here, because another commit reads these headers with --against.
    return {
        "x-amz-meta-s3crypt-header-length": str(len(sealer.header)),
        "x-amz-meta-s3crypt-frame-length": str(frame_length),
        "x-amz-meta-s3crypt-footer-length": "0",
    }


# --- reading them ------------------------------------------------------------------------------


class PlainReader(io.RawIOBase):
    """An object that boto3 alone reads: its size by HEAD, then one GET per read.

    Attributes:
        asked: The bytes that the caller requested, without those beyond the object's end.
        reads: The number of reads.
    """

    def __init__(self, client: Any, name: str) -> None:
        super().__init__()
        self._client = client
        self._place = {"Bucket": BUCKET, "Key": name}
        self._size = int(client.head_object(**self._place)["ContentLength"])
        self._position = 0
        self.asked = 0
        self.reads = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position, and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Return the bytes of one GET. Only botocore copies them."""
        body = self._get(size)
        return body.read() if body else b""

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no len
        """Read the bytes of one GET into the buffer."""
        view = memoryview(buffer).cast("B")
        body, count = self._get(len(view)), 0
        while body and (came := body.readinto(view[count:])):
            count += came
        return count

    def _get(self, size: int) -> Any:
        left = max(0, self._size - self._position)
        count = left if size < 0 else min(size, left)
        if not count:
            return None
        wanted = f"bytes={self._position}-{self._position + count - 1}"
        self._position += count
        self.asked += count
        self.reads += 1
        return self._client.get_object(**self._place, Range=wanted)["Body"]


class Traffic:
    """Counts a client's requests and the bytes of the bodies that the server sent to it.

    A body counts with the whole length that the server announced, even if it was not read to its
    end.
    """

    def __init__(self, client: Any) -> None:
        self.requests = 0
        self.bytes = 0
        client.meta.events.register("response-received.s3", self._count)

    def _count(self, event_name: str, response_dict: Mapping[str, Any] | None, **_: object) -> None:
        self.requests += 1
        if response_dict and not event_name.endswith(".HeadObject"):
            self.bytes += int(response_dict["headers"]["content-length"])


def _file(file: BinaryIO) -> Any:
    return _pyarrow("pyarrow.parquet").ParquetFile(file).read(list(CHOSEN))


def _prebuffer(file: BinaryIO) -> Any:
    return _pyarrow("pyarrow.parquet").ParquetFile(file, pre_buffer=True).read(list(CHOSEN))


def _dataset(file: BinaryIO) -> Any:
    fragment = _pyarrow("pyarrow.dataset").ParquetFileFormat().make_fragment(file)
    return fragment.to_table(columns=list(CHOSEN))


# The ways in which pyarrow reads: one column chunk after another; with all chunks announced
# beforehand; and as a file of a data set.
CALLS: Mapping[str, Callable[[BinaryIO], Any]] = {
    "file": _file,
    "prebuffer": _prebuffer,
    "dataset": _dataset,
}


def _raw(client: Any, name: str) -> BinaryIO:
    # pyarrow accepts a RawIOBase; only the type differs from BinaryIO.
    return cast("BinaryIO", PlainReader(client, name))


def _buffered(client: Any, name: str) -> BinaryIO:
    return io.BufferedReader(PlainReader(client, name))


def opened(client: Any, name: str) -> BinaryIO:
    """Open a sealed object with s3crypt."""
    store = S3Crypt(operation.MODES["client"](), client=client)
    return cast("BinaryIO", store.open(f"s3://{BUCKET}/{name}", "rb"))


PLAIN_READERS: Mapping[str, Callable[[Any, str], BinaryIO]] = {"raw": _raw, "buffered": _buffered}
READERS: Mapping[str, Callable[[Any, str], BinaryIO]] = {"ours": opened, **PLAIN_READERS}


def read_columns(reader: str, call: str, client: Any, name: str) -> Any:
    """Read the two columns through a new file object. Return them as a table."""
    with READERS[reader](client, name) as file:
        return CALLS[call](file)


@dataclass(frozen=True, slots=True)
class Count:
    """The bytes and requests of reading the two columns once.

    Attributes:
        asked, reads: The bytes and reads that pyarrow requested from the plain file.
        fetched, requests: The bytes that s3crypt's reader received for the same call, and its
            requests, including headers and footers.
        plain_requests: The requests of the plain reader for the same call.
    """

    asked: int
    reads: int
    fetched: int
    requests: int
    plain_requests: int


def count(endpoint_url: str, call: str, sealed: str, plain: str) -> Count:
    """Read the columns of both files, compare the tables, and count bytes and requests.

    Raises:
        BenchmarkError: The tables of both files differ.
    """
    ours, theirs = operation.client(endpoint_url), operation.client(endpoint_url)
    our_traffic, their_traffic = Traffic(ours), Traffic(theirs)
    table = read_columns("ours", call, ours, sealed)
    with PlainReader(theirs, plain) as file:
        read = CALLS[call](cast("BinaryIO", file))
    if not table.equals(read):
        raise BenchmarkError("the sealed file has other numbers than the plain one")
    if their_traffic.bytes != file.asked:
        raise BenchmarkError(f"{their_traffic.bytes} bytes came of {file.asked} asked for")
    return Count(
        file.asked, file.reads, our_traffic.bytes, our_traffic.requests, their_traffic.requests
    )


# --- in order ----------------------------------------------------------------------------------


def _by_read(file: BinaryIO) -> int:
    total = 0
    while data := file.read(_MIB):
        total += len(data)
    return total


def _by_readinto(file: BinaryIO) -> int:
    buffer, total = bytearray(_MIB), 0
    while count := cast("io.BufferedReader", file).readinto(buffer):
        total += count
    return total


def _by_one_read(file: BinaryIO) -> int:
    return len(file.read())


# The ways of reading a file in order: 1 MiB at a time into new bytes, 1 MiB at a time into one
# buffer, and all at once.
SEQUENCES: Mapping[str, Callable[[BinaryIO], int]] = {
    "read": _by_read,
    "readinto": _by_readinto,
    "whole": _by_one_read,
}


def _sequence(asked: argparse.Namespace) -> dict[str, Any]:
    made = warm(asked.endpoint_url)
    name = sealed_name(DEFAULT_FRAME_LENGTH)
    started = time.perf_counter()
    with opened(made, name) as file:
        length = SEQUENCES[asked.how](file)
    return {"seconds": time.perf_counter() - started, "bytes": length}


def warm(endpoint_url: str) -> Any:
    """Return a client after its first request, so its connection and imports exist."""
    made = operation.client(endpoint_url)
    made.put_object(Bucket=BUCKET, Key="warm-up", Body=b"")
    return made


# --- in turns ----------------------------------------------------------------------------------

Sides = Mapping[str, Callable[[], object]]


def in_turns(sides: Sides, rounds: int, *, warm_up: int, memory: int) -> list[dict[str, float]]:
    """Run all sides in each round. Return the seconds of each side, round by round.

    Each round starts with a different side than the round before. `warm_up` rounds come first and
    do not count. Before each run, `memory` bytes are touched and freed, see `claim_memory`.
    """
    names = list(sides)
    measured = []
    for number in range(-warm_up, rounds):
        seconds = {}
        for at in range(len(names)):
            name = names[(number + at) % len(names)]
            claim_memory(memory)
            started = time.perf_counter()
            sides[name]()
            seconds[name] = time.perf_counter() - started
        if number >= 0:
            measured.append(seconds)
    return measured


def _columns(asked: argparse.Namespace) -> dict[str, Any]:
    _pyarrow()
    made = {reader: warm(asked.endpoint_url) for reader in READERS}
    return {call: _called(call, made, asked) for call in asked.calls}


def _called(call: str, made: Mapping[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    sealed = sealed_name(DEFAULT_FRAME_LENGTH)
    counted = count(asked.endpoint_url, call, sealed, PLAIN)

    def side(reader: str) -> Callable[[], object]:
        name = sealed if reader == "ours" else PLAIN
        return partial(read_columns, reader, call, made[reader], name)

    sides = {reader: side(reader) for reader in READERS}
    memory = _OVERALL * counted.asked
    rounds = in_turns(sides, asked.rounds, warm_up=asked.warm_up, memory=memory)
    return {"rounds": rounds, **asdict(counted)}


# --- listing -----------------------------------------------------------------------------------

_SET = "set"
_PAGE = 1000


def make_objects(folder: Path, objects: int) -> dict[str, dict[str, str]]:
    """Write sealed objects of different sizes, a thousand per folder. Return their headers."""
    described = headers(DEFAULT_FRAME_LENGTH)
    for number in range(objects):
        path = folder / _SET / f"part={number // 1000}" / f"{number:06}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(message.encrypt(bytes(number), operation.keyring()))
    found = (folder / _SET).glob("*/*")
    return {f"{BUCKET}/{path.relative_to(folder)}": described for path in sorted(found)}


class _Body(io.BytesIO):
    """A reply's body, with the one method of urllib3's responses that botocore calls."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


class Listing:
    """Replies to ListObjectsV2 inside the client's process, from the files of a folder.

    The null server has no listing. Therefore the time of a listing is only the client's own.
    """

    def __init__(self, folder: Path) -> None:
        self._answers: dict[str, bytes] = {}
        paths = sorted((folder / _SET).glob("*/*"))
        for start in range(0, len(paths), _PAGE):
            after = str(start + _PAGE) if start + _PAGE < len(paths) else ""
            page = [self._entry(folder, path) for path in paths[start : start + _PAGE]]
            self._answers[str(start)] = self._page(page, after)

    def answer(self, request: Any, **_: object) -> AWSResponse:
        """Reply to a request that is about to be sent."""
        asked = dict(parse_qsl(urlsplit(request.url).query))
        if asked.get("prefix", "").rstrip("/") != _SET or "delimiter" in asked:
            raise BenchmarkError(f"there is one listing only, and it is not {request.url}")
        body = self._answers[asked.get("continuation-token", "0")]
        # botocore uses this type for headers, but its type stubs declare the type of http.client.
        lengths: Any = HeadersDict({"content-length": str(len(body))})
        return AWSResponse(request.url, 200, lengths, _Body(body))

    def _entry(self, folder: Path, path: Path) -> str:
        status = path.stat()
        # nginx computes its ETag in the same way.
        etag = f"&quot;{int(status.st_mtime):x}-{status.st_size:x}&quot;"
        return (
            f"<Contents><Key>{path.relative_to(folder)}</Key>"
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>{etag}</ETag>"
            f"<Size>{status.st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )

    def _page(self, page: Sequence[str], after: str) -> bytes:
        more = f"<NextContinuationToken>{after}</NextContinuationToken>" if after else ""
        return (
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{_SET}</Prefix><KeyCount>{len(page)}</KeyCount>"
            f"<MaxKeys>{_PAGE}</MaxKeys><IsTruncated>{str(bool(after)).lower()}</IsTruncated>"
            f"{more}{''.join(page)}</ListBucketResult>"
        ).encode()


class _Session(boto3.Session):
    """A session whose clients get the replies to their listings from `Listing`."""

    def __init__(self, listing: Listing, **options: Any) -> None:
        super().__init__(**options)
        # boto3's stubs do not allow a registered function to return a response.
        events: Any = self.events
        events.register("before-send.s3.ListObjectsV2", listing.answer)


@contextmanager
def listed(endpoint_url: str, folder: Path) -> Iterator[Any]:
    """Yield a client that lists this folder.

    All sessions that are made in the block list it too.
    """
    environment = {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    session = partial(_Session, Listing(folder))
    # The file system makes its own session and accepts no other, so the class of sessions is
    # replaced.
    with mock.patch.dict(os.environ, environment), mock.patch.object(boto3, "Session", session):
        yield session().client("s3")


def filesystem() -> Any:
    """Return a new file system, whose cache is empty."""
    try:
        from s3crypt.filesystem import S3CryptFileSystem  # noqa: PLC0415  fsspec may be missing
    except ImportError:
        raise MissingPeerError("fsspec is missing: pip install fsspec") from None
    return S3CryptFileSystem(mode=operation.MODES["client"](), skip_instance_cache=True)


def plain_listing(client: Any) -> dict[str, int]:
    """Return names and stored sizes, from a listing by boto3."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{_SET}/")
    return {each["Key"]: each["Size"] for page in pages for each in page["Contents"]}


def bare_heads(client: Any, names: Iterable[str]) -> None:
    """Request the head of each object and drop the reply: exact sizes take at least this work."""

    def head(name: str) -> None:
        client.head_object(Bucket=BUCKET, Key=name)

    # A client has ten connections. Further threads would only wait for one of them.
    with ThreadPoolExecutor(10) as pool:
        for _ in pool.map(head, names):
            pass


def exact_listing(fs: Any) -> dict[str, int]:
    """Return the plaintext size of each object, from a listing by the file system."""
    found = fs.find(f"{BUCKET}/{_SET}", detail=True)
    return {path: each["size"] for path, each in found.items()}


def list_in_turns(client: Any, rounds: int) -> list[dict[str, float]]:
    """Return the seconds of a plain listing, of bare HEADs, and of two exact listings.

    Each round has a new file system, which lists twice.

    Raises:
        BenchmarkError: The listed sizes are not the plaintext sizes.
    """
    names = list(plain_listing(client))
    measured = []
    for _ in range(rounds):
        exact = partial(exact_listing, filesystem())
        sides: Sides = {
            "plain": partial(plain_listing, client),
            "heads": partial(bare_heads, client, names),
            "first": exact,
            "again": exact,
        }
        measured += in_turns(sides, 1, warm_up=0, memory=0)
        if sorted(exact().values()) != list(range(len(names))):
            raise BenchmarkError("the listing has other sizes than what was made")
    return measured


def _listing(asked: argparse.Namespace) -> dict[str, Any]:
    with listed(asked.endpoint_url, asked.folder) as client:
        return {"rounds": list_in_turns(client, asked.rounds)}


# --- the command -------------------------------------------------------------------------------


def _make(asked: argparse.Namespace) -> dict[str, Any]:
    make(asked.folder / PLAIN, asked.size, asked.group_rows)
    return {
        f"{BUCKET}/{sealed_name(each)}": seal(
            asked.folder / PLAIN, asked.folder / sealed_name(each), each
        )
        for each in asked.frame_length
    }


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make a data set, or read it.")
    commands = parser.add_subparsers(required=True)
    made = commands.add_parser("make", help="a Parquet file, plain and sealed")
    made.add_argument("folder", type=Path)
    made.add_argument("--size", type=parse_size, default="1GiB")
    made.add_argument("--group-rows", type=int, default=GROUP_ROWS)
    made.add_argument("--frame-length", type=parse_size, nargs="+", default=[DEFAULT_FRAME_LENGTH])
    made.set_defaults(work=_make)
    columns = commands.add_parser("columns", help="two of twenty, ours and plain in turns")
    columns.add_argument("--endpoint-url", required=True)
    columns.add_argument("--rounds", type=int, default=5)
    columns.add_argument("--warm-up", type=int, default=1, help="rounds that do not count")
    columns.add_argument("--calls", nargs="+", choices=CALLS, default=list(CALLS))
    columns.set_defaults(work=_columns)
    sequence = commands.add_parser("sequence", help="the whole file in order")
    sequence.add_argument("how", choices=SEQUENCES)
    sequence.add_argument("--endpoint-url", required=True)
    sequence.set_defaults(work=_sequence)
    objects = commands.add_parser("objects", help="many small ones, sealed")
    objects.add_argument("folder", type=Path)
    objects.add_argument("--objects", type=int, default=10_000)
    objects.set_defaults(work=lambda asked: make_objects(asked.folder, asked.objects))
    listing = commands.add_parser("listing", help="with exact sizes, and plain")
    listing.add_argument("folder", type=Path)
    listing.add_argument("--endpoint-url", required=True)
    listing.add_argument("--rounds", type=int, default=1)
    listing.set_defaults(work=_listing)
    return parser.parse_args(given)


def main() -> None:
    """Run the command that the arguments name."""
    asked = _arguments()
    try:
        said = asked.work(asked)
    except MissingPeerError as missing:
        said = {"missing": str(missing)}
    print(json.dumps(said), flush=True)
    # pyarrow's threads may still hold a buffer of Python. A thread that releases such a buffer
    # while Python ends aborts the process: "terminate called without an active exception".
    os._exit(0)


if __name__ == "__main__":
    with workload.stopped_by_sigterm():
        main()
