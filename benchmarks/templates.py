# SPDX-License-Identifier: Apache-2.0
"""Make the objects that canned.py serves, one per bucket: under an AES or KMS key, or plain.

    python templates.py FOLDER --endpoint-url URL [--size 1KiB] [--parquet]

Writes `BUCKET.body` and `BUCKET.json` for each bucket, and requests the data keys from the canned
KMS at URL. The objects are not bound to a name, so they can be read under any name. `--parquet`
adds a small Parquet file, plain and sealed.
"""

import argparse
import io
import json
import random
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import operation
from awscrt.checksums import crc64nvme
from canned import KMS_KEY, MTIME
from workload import parse_size

from s3crypt import ClientSide, KMSKeyring, S3Crypt

_STORED = {"x-amz-server-side-encryption": "AES256"}
PARQUET_COLUMNS = 6
# The rows of the Parquet file. Each is a random number of 8 bytes; the file has 114 kB with its
# footer.
_PARQUET_ROWS = 2340


class _Recorder:
    """Keeps the body and the metadata of a put, because the canned server drops them."""

    def __init__(self, client: Any) -> None:
        self.body, self.headers = b"", dict[str, str]()
        client.meta.events.register("before-parameter-build.s3.PutObject", self._keep)

    def _keep(self, params: Mapping[str, Any], **_: object) -> None:
        self.body = bytes(params["Body"])
        kept = {f"x-amz-meta-{name}": value for name, value in params["Metadata"].items()}
        self.headers = {**_STORED, **kept}


def _modes(endpoint_url: str) -> dict[str, ClientSide]:
    client = boto3.client(
        "kms",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    aes, kms = operation.keyring(), KMSKeyring(KMS_KEY, client=client)
    return {
        "aes": ClientSide(aes, bind_name=False),
        "kms": ClientSide(kms, bind_name=False),
        "kms-metadata": ClientSide(kms, bind_name=False, key_location="metadata"),
    }


def _sealed(endpoint_url: str, plaintext: bytes, mode: ClientSide) -> tuple[bytes, dict[str, str]]:
    client = operation.client(endpoint_url)
    recorder = _Recorder(client)
    S3Crypt(mode, client=client).put(plaintext, "s3://template/object")
    return recorder.body, recorder.headers


def _checked(plaintext: bytes) -> dict[str, str]:
    """Return the headers of a plain object for which S3 has a checksum."""
    checksum = b64encode(crc64nvme(plaintext).to_bytes(8)).decode()
    return {
        **_STORED,
        "x-amz-checksum-crc64nvme": checksum,
        "x-amz-checksum-type": "FULL_OBJECT",
    }


def _parquet() -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - large, and not everyone has it
    import pyarrow.parquet as pq  # noqa: PLC0415

    numbers = random.Random("parquet")
    columns = {
        f"c{column}": [numbers.getrandbits(63) for _ in range(_PARQUET_ROWS)]
        for column in range(PARQUET_COLUMNS)
    }
    written = io.BytesIO()
    pq.write_table(pa.table(columns), written)
    return written.getvalue()


def make(folder: Path, endpoint_url: str, size: int, *, parquet: bool) -> None:
    """Write the templates of all buckets."""
    plaintext = random.Random(size).randbytes(size)
    modes = _modes(endpoint_url)
    made = {name: _sealed(endpoint_url, plaintext, mode) for name, mode in modes.items()}
    made |= {"plain": (plaintext, _STORED), "sse-s3": (plaintext, _checked(plaintext))}
    dated = {"x-amz-meta-mtime": str(MTIME)}
    made |= {f"{name}-mtime": (made[name][0], made[name][1] | dated) for name in ("aes", "plain")}
    if parquet:
        file = _parquet()
        made["parquet-aes"] = _sealed(endpoint_url, file, modes["aes"])
        made["parquet-plain"] = file, _STORED
    for name, (body, headers) in made.items():
        (folder / f"{name}.body").write_bytes(body)
        (folder / f"{name}.json").write_text(json.dumps(headers))


def main() -> None:
    """Make the templates that the arguments name."""
    parser = argparse.ArgumentParser(description="Make what canned.py serves.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--endpoint-url", required=True)
    parser.add_argument("--size", type=parse_size, default="1KiB")
    parser.add_argument("--parquet", action="store_true")
    asked = parser.parse_args()
    make(asked.folder, asked.endpoint_url, asked.size, parquet=asked.parquet)


if __name__ == "__main__":
    main()
