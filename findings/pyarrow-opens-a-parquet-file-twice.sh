#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pyarrow 26.0.1 on a file system of fsspec 2026.9.0:
# - `pyarrow.parquet.read_table(path, filesystem=fs)` opens the file twice, and calls isfile before each open.
# - `pyarrow.dataset.dataset(paths, filesystem=fs).to_table()` opens the first file twice and every other file once.
# - `pyarrow.parquet.read_table(file)` reads a file that fs has already opened, and opens no file itself.
# On a remote file system, each open and each isfile takes at least one request.
#
# Exit code 0: the behaviour is unchanged. 1: it has changed. Everything is installed in a temporary folder.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pyarrow==26.0.1 fsspec==2026.9.0
cd "$folder"

"$folder/venv/bin/python" - <<'END'
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

asked = []


class Asked(LocalFileSystem):
    """Notes what it is asked for."""

    cachable = False

    def info(self, path, **options):
        asked.append(f"info {Path(path).name}")
        return super().info(path, **options)

    def isfile(self, path):
        asked.append(f"isfile {Path(path).name}")
        return super().isfile(path)

    def open(self, path, *arguments, **options):
        asked.append(f"open {Path(path).name}")
        return super().open(path, *arguments, **options)


def seen(work):
    asked.clear()
    work()
    return list(asked)


paths = [str(Path.cwd() / f"{name}.parquet") for name in "abc"]
for path in paths:
    pq.write_table(pa.table({"n": range(10)}), path)
files = Asked()

table = seen(lambda: pq.read_table(paths[0], filesystem=files))
print("read_table(path):", ", ".join(table))
data_set = seen(lambda: ds.dataset(paths, filesystem=files).to_table())
print("dataset(paths).to_table():", ", ".join(data_set))
opened = files.open(paths[0], "rb")
by_file = seen(lambda: pq.read_table(opened))
print("read_table(file):", ", ".join(by_file) or "nothing")

is_as_seen = (
    table.count("open a.parquet") == table.count("isfile a.parquet") == 2
    and [data_set.count(f"open {name}.parquet") for name in "abc"] == [2, 1, 1]
    and not by_file
)
sys.exit(not is_as_seen)
END
