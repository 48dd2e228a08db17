# SPDX-License-Identifier: Apache-2.0
"""How long do two columns of twenty take to read, by frame length, against plain boto3?

The null server serves a Parquet file of 1 GiB from memory, over http. `groups` names the program
whose default row groups the file has: column chunks have 8 MiB with pyarrow's default, and less
than 1 MiB with DuckDB's. `extra_info` has the bytes requested, the bytes fetched, and the number of
requests. Further benchmarks read the same file from its beginning to its end, by frame length, and
list many small objects with their plaintext sizes.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import datasets
import nullserver
import operation
import pytest
from datasets import CALLS, GROUP_ROWS, PLAIN, PLAIN_READERS, SEQUENCES, SMALL_GROUP_ROWS
from workload import BUCKET, size_name

from s3crypt import S3Crypt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from suite import Measure

_KIB, _MIB, _GIB = 2**10, 2**20, 2**30
FRAME_LENGTHS = tuple(64 * _KIB << doubled for doubled in range(7))
GROUPS = {"pyarrow": GROUP_ROWS, "DuckDB": SMALL_GROUP_ROWS}
OBJECTS = 10_000
_TINY_SIZE, _TINY_OBJECTS = 4 * _MIB, 20


class Files:
    """The plain files, and one sealed file at a time.

    All sealed files would not fit into memory.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size

    @property
    def described(self) -> dict[str, dict[str, str]]:
        """Return the headers of the objects of every frame length, by `BUCKET/NAME`."""
        return {
            f"{BUCKET}/{group}/{datasets.sealed_name(length)}": datasets.headers(length)
            for group in map(_folder_of, GROUPS)
            for length in FRAME_LENGTHS
        }

    def size(self, groups: str) -> int:
        """Return the size of the plain file in bytes."""
        return (self._folder / _folder_of(groups) / PLAIN).stat().st_size

    def name(self, groups: str, frame_length: int | None) -> str:
        """Return the name of an object, and make its file if it does not exist.

        Args:
            groups: The program whose default row groups the file has.
            frame_length: The frame length of the sealed file, or None for the plain file.
        """
        folder = self._folder / _folder_of(groups)
        folder.mkdir(exist_ok=True)
        plain = folder / PLAIN
        if not plain.exists():
            datasets.make(plain, self._size, GROUPS[groups])
        if frame_length is None:
            return f"{folder.name}/{PLAIN}"
        sealed = folder / datasets.sealed_name(frame_length)
        if not sealed.exists():
            for other in self._folder.glob("*/sealed-*"):
                other.unlink()
            datasets.seal(plain, sealed, frame_length)
        return f"{folder.name}/{sealed.name}"


def _folder_of(groups: str) -> str:
    return str(GROUPS[groups])


@pytest.fixture(scope="module")
def served(folder: Path, tiny: bool) -> Iterator[tuple[nullserver.NullServer, Files]]:
    """Run a server, and yield it with the files, which are made at their first use."""
    objects = folder / "parquet"
    objects.mkdir()
    files = Files(objects, _TINY_SIZE if tiny else _GIB)
    with nullserver.running(folder, files.described) as server:
        (server.folder / "objects" / BUCKET).symlink_to(objects)
        yield server, files


@pytest.fixture(scope="module")
def client(served: tuple[nullserver.NullServer, Files]) -> Iterator[Any]:
    """Return a client that already has a connection to the server."""
    made = datasets.warm(served[0].endpoint_url)
    yield made
    made.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Order the cases by frame length, so that each sealed file is made only once."""
    lengths = FRAME_LENGTHS[:1] if metafunc.config.getoption("--tiny") else FRAME_LENGTHS
    if metafunc.function is bench_columns:
        columns = [
            (groups, frame_length, reader, call)
            for groups in GROUPS
            for frame_length in (None, *lengths)
            for reader in (["ours"] if frame_length else PLAIN_READERS)
            for call in CALLS
        ]
        metafunc.parametrize(("groups", "frame_length", "reader", "call"), columns, ids=_name)
    elif metafunc.function is bench_in_order:
        ways = [(frame_length, how) for frame_length in lengths for how in (*SEQUENCES, "get")]
        metafunc.parametrize(("frame_length", "how"), ways, ids=_name)


def _name(value: object) -> str | None:
    return size_name(value) if isinstance(value, int) else None


def bench_columns(  # noqa: PLR0913, PLR0917 - what makes a case; pytest passes it by name
    measure: Measure,
    served: tuple[nullserver.NullServer, Files],
    client: Any,
    groups: str,
    frame_length: int | None,
    reader: str,
    call: str,
) -> None:
    """Measure reading the footer and two columns of twenty."""
    server, files = served
    plain, name = files.name(groups, None), files.name(groups, frame_length)
    counted = {}
    if frame_length:
        counted = asdict(datasets.count(server.endpoint_url, call, name, plain))
    measure(
        partial(datasets.read_columns, reader, call, client, name),
        group=f"columns {groups} {call}",
        rounds=7,
        frame_length=frame_length or 0,
        groups=groups,
        call=call,
        reader=reader,
        **counted,
    )


def bench_in_order(
    measure: Measure,
    served: tuple[nullserver.NullServer, Files],
    client: Any,
    folder: Path,
    frame_length: int,
    how: str,
) -> None:
    """Measure reading the whole file in order, or `get` of it to a file in memory."""
    _, files = served
    name, target = files.name("pyarrow", frame_length), folder / "got"
    work = partial(_got, client, name, target)
    if how != "get":
        work = partial(_read, client, name, SEQUENCES[how])
    measure(
        work,
        before=partial(target.unlink, missing_ok=True),
        group="in order",
        size=files.size("pyarrow"),
        rounds=5,
        frame_length=frame_length,
        how=how,
    )
    target.unlink(missing_ok=True)


def _got(client: Any, name: str, target: Path) -> None:
    store = S3Crypt(operation.MODES["client"](), client=client)
    store.get(f"s3://{BUCKET}/{name}", target)


def _read(client: Any, name: str, read: Callable[[BinaryIO], int]) -> None:
    with datasets.opened(client, name) as file:
        read(file)


@pytest.fixture(scope="module")
def many(folder: Path, tiny: bool) -> Iterator[tuple[nullserver.NullServer, Path]]:
    """Run a server of many small objects."""
    datasets.filesystem()
    objects = folder / "many"
    described = datasets.make_objects(objects, _TINY_OBJECTS if tiny else OBJECTS)
    with nullserver.running(folder, described) as server:
        (server.folder / "objects" / BUCKET).symlink_to(objects)
        yield server, objects


@pytest.mark.parametrize("which", ["plain", "first", "again"])
def bench_listing(
    measure: Measure, many: tuple[nullserver.NullServer, Path], tiny: bool, which: str
) -> None:
    """Measure listing all objects: with stored sizes, or with plaintext sizes.

    Plaintext sizes are listed for the first or for the second time.
    """
    server, objects = many
    with datasets.listed(server.endpoint_url, objects) as client:
        known = datasets.filesystem()
        works: dict[str, Callable[[], object]] = {
            "plain": partial(datasets.plain_listing, client),
            "first": lambda: datasets.exact_listing(datasets.filesystem()),
            "again": partial(datasets.exact_listing, known),
        }
        if which == "again":
            works[which]()
        count = _TINY_OBJECTS if tiny else OBJECTS
        # A first listing takes seconds. With `before`, a round has only one call.
        measure(
            works[which],
            before=(lambda: None) if which == "first" else None,
            group="listing",
            rounds=3,
            which=which,
            objects=count,
        )
