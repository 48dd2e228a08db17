# SPDX-License-Identifier: Apache-2.0
"""Rows of many.py that read small Parquet files, and the reading process of these rows.

    python small_parquet.py READER WAY REPORT --endpoint-url URL [--files 300] [--threads 32]

READER is `s3crypt`, which reads sealed files, or `s3fs` or `pyarrow`, which read the same files
unencrypted. With the WAY `files`, each thread opens a file and reads its table; with `dataset`, one
data set has all paths. The report is a JSON file. Its clock starts once everything is imported and
one file has been read, and the server's counts of requests start at the same time.
"""

import argparse
import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import peers
import workload
from peers import MissingPeerError
from rows import Bench, Row, Run, Side, counted
from workload import BenchmarkError

_THREADS = 32
_FILES = 300
_HOST = "127.0.0.1"
_READERS = ("s3crypt", "s3fs", "pyarrow")
_WAYS = {"files": "read_table by 32 threads", "dataset": "a data set of their paths"}

# --- the process -------------------------------------------------------------------------------


def _s3crypt(endpoint_url: str, key_file: str) -> Any:
    import fsspec  # noqa: PLC0415 - each reader's process loads what it needs

    key = f"aes:benchmark/memory={key_file}"
    return fsspec.filesystem("s3crypt", key=key, bind_name=False, endpoint_url=endpoint_url)


def _s3fs(endpoint_url: str, _: str) -> Any:
    import s3fs  # type: ignore[import-not-found]  # noqa: PLC0415 - in an environment of its own

    # The client has as many connections as there are threads; botocore's default is 10.
    more = {"max_pool_connections": _THREADS}
    return s3fs.S3FileSystem(anon=True, endpoint_url=endpoint_url, config_kwargs=more)


def _pyarrow(endpoint_url: str, _: str) -> Any:
    from pyarrow import fs  # noqa: PLC0415

    place = endpoint_url.removeprefix("http://")
    return fs.S3FileSystem(
        anonymous=True, scheme="http", endpoint_override=place, region="us-east-1"
    )


_SYSTEMS: Mapping[str, Callable[[str, str], Any]] = {
    "s3crypt": _s3crypt,
    "s3fs": _s3fs,
    "pyarrow": _pyarrow,
}


def _read_file(system: Any, path: str) -> int:
    import pyarrow.parquet as pq  # noqa: PLC0415

    opened = system.open_input_file(path) if hasattr(system, "open_input_file") else None
    with opened or system.open(path) as file:
        return int(pq.read_table(file).num_rows)


def _read_files(system: Any, paths: Sequence[str], threads: int) -> int:
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(partial(_read_file, system), paths))


def _read_dataset(system: Any, paths: Sequence[str], threads: int) -> int:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.dataset as ds  # noqa: PLC0415

    pa.set_io_thread_count(threads)
    # docs/data-sets.md recommends to_arrow. s3fs has no such method.
    arrow = system.to_arrow() if hasattr(system, "to_arrow") else system
    found = ds.dataset(list(paths), filesystem=arrow, format="parquet")
    return int(found.to_table().num_rows)


_READ = {"files": _read_files, "dataset": _read_dataset}


def _forget_counts(endpoint_url: str) -> None:
    place = endpoint_url.removeprefix("http://")
    with closing(http.client.HTTPConnection(place, timeout=10)) as connection:
        connection.request("DELETE", "/.counts")
        connection.getresponse().read()


def _measured(asked: argparse.Namespace) -> dict[str, float]:
    system = _SYSTEMS[asked.reader](asked.endpoint_url, asked.key_file)
    bucket = "parquet-aes" if asked.reader == "s3crypt" else "parquet-plain"
    # One more file than the measured ones is read before the clock starts.
    paths = [f"{bucket}/{asked.files + 1}/{number:07}" for number in range(asked.files + 1)]
    read = _READ[asked.way]
    rows = read(system, paths[-1:], asked.threads)
    _forget_counts(asked.endpoint_url)
    started = time.perf_counter()
    total = read(system, paths[:-1], asked.threads)
    seconds = time.perf_counter() - started
    if total != rows * asked.files:
        raise BenchmarkError(f"{total} rows came of {rows * asked.files}")
    return {"seconds": seconds}


def main() -> None:
    """Read the files, and write the report."""
    parser = argparse.ArgumentParser(description="Read small Parquet files.")
    parser.add_argument("reader", choices=_READERS)
    parser.add_argument("way", choices=_WAYS)
    parser.add_argument("report", type=Path)
    parser.add_argument("--endpoint-url", required=True)
    parser.add_argument("--key-file", default="")
    parser.add_argument("--files", type=int, default=_FILES)
    parser.add_argument("--threads", type=int, default=_THREADS)
    asked = parser.parse_args()
    asked.report.write_text(json.dumps(_measured(asked)))
    # The process ends here without Python's shutdown, during which pyarrow's threads can abort it.
    os._exit(0)


# --- the rows ----------------------------------------------------------------------------------


def _sides(way: str, bench: Bench) -> Iterator[Side]:
    files = min(_FILES, bench.count)
    url = bench.parquet_server.endpoint_url
    for checkout in bench.checkouts:
        run = partial(_run, bench, sys.executable, "s3crypt", way, files, checkout.environment(url))
        yield Side(checkout.name, run, files, _missing("pyarrow"))
    others: dict[str, Callable[[], str]] = {
        "s3fs": peers.PEERS["s3fs"].path,
        "pyarrow": lambda: sys.executable,
    }
    for name, python in others.items():
        missing = _missing(name)
        path = "" if missing else python()
        run = partial(_run, bench, path, name, way, files, workload.environment())
        yield Side(name, run, files, missing)


def _missing(peer: str) -> str:
    try:
        peers.find(peer)
    except MissingPeerError as missing:
        return str(missing)
    return ""


def _run(
    bench: Bench, python: str, reader: str, way: str, files: int, environment: dict[str, str]
) -> Run:
    server = bench.parquet_server
    with tempfile.TemporaryDirectory(prefix="s3crypt-report-") as folder:
        report = Path(folder) / "report"
        given = ("--endpoint-url", server.endpoint_url, "--files", str(files))
        command = (python, __file__, reader, way, report, *given, "--key-file", bench.key_file)
        ended = workload.run(command, environment)
        seconds = json.loads(report.read_text())["seconds"]
    return Run(seconds, ended.cpu_seconds, ended.peak_rss, server.counts())


def _capacity(bench: Bench) -> str:
    server = bench.parquet_server
    return counted(server, "/parquet-aes/1/0000000", "--range", "0-65535", delay=bench.delay)


ROWS: tuple[Row, ...] = tuple(
    Row(
        f"parquet-{way}",
        f"300 Parquet files of 114 kB, {told}; imports left out",
        lambda bench, way=way: list(_sides(way, bench)),  # type: ignore[misc]
        _capacity,
        unit="files/s",
    )
    for way, told in _WAYS.items()
)


if __name__ == "__main__":
    main()
