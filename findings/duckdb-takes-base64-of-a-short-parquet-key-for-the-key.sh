#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# duckdb 2.0.1 and pyarrow 26.0.1. pyarrow encrypts Parquet files under one plain key
# (pyarrow.parquet.encryption.create_encryption_properties). PRAGMA add_parquet_key passes the key to DuckDB in base64.
# - DuckDB reads a file under a key of 32 bytes.
# - DuckDB does not read a file under a key of 16 bytes. The base64 of 16 bytes has 24 characters, and DuckDB takes a
#   text of 16, 24 or 32 characters for the key itself, here for an AES-192 key. A key of 24 bytes fails for the same
#   reason: its base64 has 32 characters.
# - DuckDB does not read a file under a key of 32 bytes either if a column chunk of it has several pages.
# pyarrow reads all of these files.
#
# Exit code 0: the behaviour is unchanged. 1: it has changed. Everything is installed in a temporary folder.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q duckdb==2.0.1 pyarrow==26.0.1
cd "$folder"

"$folder/venv/bin/python" - <<'END'
import sys
from base64 import b64encode

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet.encryption import create_decryption_properties, create_encryption_properties

ROWS = 5000
table = pa.table({"id": range(ROWS)})
one_page = {"use_dictionary": False}
pages = {"use_dictionary": False, "data_page_size": 4096, "write_batch_size": 256}


def tried(length, layout):
    key, path = bytes(range(65, 65 + length)), f"{length}-{len(layout)}.parquet"
    pq.write_table(table, path, encryption_properties=create_encryption_properties(key), **layout)
    opened = pq.read_table(path, decryption_properties=create_decryption_properties(key))
    assert opened.equals(table)
    with duckdb.connect() as duck:
        duck.execute(f"PRAGMA add_parquet_key('key', '{b64encode(key).decode()}')")
        query = f"SELECT sum(id) FROM read_parquet('{path}', encryption_config={{footer_key: 'key'}})"
        try:
            return duck.sql(query).fetchall()
        except duckdb.Error as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0]}"


seen = {
    "32 bytes": tried(32, one_page),
    "16 bytes": tried(16, one_page),
    "24 bytes": tried(24, one_page),
    "32 bytes, several pages": tried(32, pages),
}
for name, result in seen.items():
    print(f"{name}: {result}")
read = {name for name, result in seen.items() if result == [(ROWS * (ROWS - 1) // 2,)]}
sys.exit(read != {"32 bytes"})
END
