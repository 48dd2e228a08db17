#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# polars 2.1.0, `DataFrame.write_parquet` to a URL of a scheme that polars does not know (here
# "memory://", which fsspec, pandas and Dask do know):
# - Without further options, polars raises an error, since there is no local folder "memory:".
# - With mkdir=True, or with partition_by=, polars raises no error. It writes the rows to local files below ./memory:/,
#   relative to the working directory, and ignores the storage options.
#
# Exit code 0: the behaviour is unchanged. 1: it has changed. Everything is installed in a temporary folder.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q polars==2.1.0
mkdir "$folder/here"
cd "$folder/here"

"$folder/venv/bin/python" - <<'END'
import sys
from pathlib import Path

import polars as pl

frame = pl.DataFrame({"id": [1, 2], "region": ["eu", "us"]})


def write(name, **how):
    try:
        frame.write_parquet(f"memory://bucket/{name}", storage_options={"key": "any"}, **how)
    except OSError as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return "no error"


def local():
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


plain = write("plain.parquet")
print("plain:", plain)
print("local files:", local())
before = local()
made = write("made.parquet", mkdir=True)
print("mkdir=True:", made)
parted = write("parted", partition_by="region")
print("partition_by='region':", parted)
after = local()
print("local files:", *after, sep="\n  ")

is_as_seen = (
    plain != "no error"
    and not before
    and made == parted == "no error"
    and "memory:/bucket/made.parquet" in after
    and len([name for name in after if name.startswith("memory:/bucket/parted/region=")]) == 2
)
sys.exit(not is_as_seen)
END
