#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# dask 2026.8.0, `dd.read_parquet(X).to_parquet(X, overwrite=True)`:
# - If X is a local path, dask refuses: "Cannot overwrite a path that you are reading from in the same task graph.";
# - If X is a URL, even a file:// URL of the same folder, dask deletes the folder, and the read then fails with
#   FileNotFoundError.
# The reason: dask's check compares the path without its scheme with the path that was passed to read_parquet.
#
# Exit code 0: the behaviour is unchanged. 1: it has changed. Everything is installed in a temporary folder.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'dask[dataframe]==2026.8.0' pandas==3.1.1 pyarrow==26.0.1 fsspec==2026.9.0
cd "$folder"

"$folder/venv/bin/python" - <<'END'
import sys
import warnings
from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd

warnings.simplefilter("ignore")
dask.config.set(scheduler="sync")
seen = {}
for kind in ("path", "URL"):
    folder = Path.cwd() / kind
    folder.mkdir()
    pd.DataFrame({"id": range(10)}).to_parquet(folder / "part.0.parquet")
    place = str(folder) if kind == "path" else folder.as_uri()
    try:
        dd.read_parquet(place).to_parquet(place, overwrite=True)
        said = "no error"
    except (OSError, ValueError) as error:
        said = f"{type(error).__name__}: {error}"
    left = sorted(file.name for file in folder.glob("*")) if folder.exists() else []
    seen[kind] = (said, left)
    print(f"{kind}: {said}\n  files left: {left}")

is_as_seen = (
    seen["path"][0].startswith("ValueError: Cannot overwrite a path")
    and seen["path"][1] == ["part.0.parquet"]
    and seen["URL"][0].startswith("FileNotFoundError")
    and not seen["URL"][1]
)
sys.exit(not is_as_seen)
END
