# SPDX-License-Identifier: Apache-2.0
"""Move many small objects with boto3 alone. No client that uses botocore can be much faster.

    python plain_boto3.py put FOLDER BUCKET
    python plain_boto3.py get BUCKET PREFIX FOLDER

This is one process with 32 threads and one client with as many connections. Bodies are plain, and
the script checks nothing and keeps names as they are. A `put` does not wait for a "100 Continue".
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

_THREADS = 32


def _without_expect(params: dict[str, Any], **_: Any) -> None:
    params["headers"].pop("Expect", None)


def _put(client: Any, source: Path, bucket: str) -> list[Callable[[], object]]:
    def put(path: Path) -> object:
        key = str(path.relative_to(source))
        return client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())

    return [lambda path=path: put(path) for path in source.rglob("*") if path.is_file()]  # type: ignore[misc]


def _get(client: Any, bucket: str, prefix: str, target: Path) -> list[Callable[[], object]]:
    def get(key: str) -> None:
        body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        (target / key.rpartition("/")[2]).write_bytes(body)

    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [each["Key"] for page in pages for each in page["Contents"]]
    return [lambda key=key: get(key) for key in keys]  # type: ignore[misc]


def main() -> None:
    """Put or get all objects."""
    parser = argparse.ArgumentParser(description="Move many small objects by boto3 alone.")
    parser.add_argument("verb", choices=["put", "get"])
    parser.add_argument("ends", nargs="+")
    asked = parser.parse_args()
    client = boto3.client("s3", config=Config(max_pool_connections=_THREADS))
    client.meta.events.register_last("before-call.s3", _without_expect)
    if asked.verb == "put":
        source, bucket = asked.ends
        work = _put(client, Path(source), bucket)
    else:
        bucket, prefix, target = asked.ends
        work = _get(client, bucket, prefix, Path(target))
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(lambda each: each(), work))


if __name__ == "__main__":
    main()
