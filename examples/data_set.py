# SPDX-License-Identifier: Apache-2.0
"""A data team's script that writes a partitioned Parquet data set and reads a part of it.

    python examples/data_set.py acme/orders kms:alias/reports

pyarrow writes the data set through the file system of s3crypt, and pandas reads it by its URL.
Every file is encrypted before it leaves the process. The reader fetches two columns of one
partition, and verifies every byte that it fetches. It needs `pip install 's3crypt[fs,parquet]'` and
pandas.
"""

from __future__ import annotations

import sys

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

ORDERS = {
    "region": ["eu", "us", "eu", "apac"],
    "customer": ["ann", "bob", "cid", "dee"],
    "amount": [90, 10, 30, 70],
}


def write(path: str, key: str) -> None:
    """Write the orders below a path, `bucket/prefix`, with one partition per region."""
    ds.write_dataset(
        pa.table(ORDERS),
        path,
        format="parquet",
        filesystem=fsspec.filesystem("s3crypt", key=key),
        partitioning=ds.partitioning(pa.schema([("region", pa.string())]), flavor="hive"),
        # S3 has no folders that would have to be made.
        create_dir=False,
        existing_data_behavior="overwrite_or_ignore",
    )


def amounts_of(path: str, key: str, region: str) -> dict[str, int]:
    """Return the amount of each customer of a region; files of other regions are not opened."""
    orders = pd.read_parquet(
        f"s3crypt://{path}",
        columns=["customer", "amount"],
        filters=[("region", "=", region)],
        storage_options={"key": key},
    )
    return dict(zip(orders["customer"], orders["amount"].tolist(), strict=True))


def main(arguments: list[str]) -> int:
    """Write the data set and print the amounts of one region; return the exit code."""
    path, key = arguments
    write(path, key)
    print(amounts_of(path, key, "eu"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
