# SPDX-License-Identifier: Apache-2.0
"""How long does an audit of objects take, by an inventory of 10^6 rows or by HEAD requests?

    python audits.py inventory | counts | table [--rounds 5] [--tiny]
    python audits.py heads [--rounds 5] [--tiny] [--delay 30]
    python audits.py one WHAT URL FOLDER ROWS | bare FILE | write WHAT FILE ROWS

Prints JSON, with one entry per round.

`inventory`: the seconds of our audit of a Parquet report, which is fetched over http and verified;
the seconds of pyarrow's bare read of the same file; our peak RSS for a tenth of the rows and for
all rows. `counts`: the same for counting the report's objects and bytes by status. `table`: the
same for counting an export of S3 Metadata, a local file, by status and KMS key. Each measurement is
a process of its own, with the subcommand `one` or `bare`; `write` makes the files. The process does
the work twice and measures the second time, so that imports and connections are left out.

`heads`: the seconds of our audit of 2,000 objects by HEAD in a service far away, and of boto3's
HEADs one after another. boto3 requests only a tenth of the objects, and its seconds are multiplied
by ten.
"""

import argparse
import hashlib
import json
import os
import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import canned
import nullserver
import workload

_HERE = Path(__file__).parent
_BUCKET = "inventory"
_MEASURED = ("inventory", "counts", "table")
_KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890"
_STATUSES = ("SSE-KMS", "SSE-S3", "SSE-KMS", "NOT-SSE")


def _write(what: str, path: Path, rows: int) -> None:
    """Write a file of `rows` rows: a Parquet inventory as S3 writes it, or a metadata export."""
    import pyarrow as pa  # noqa: PLC0415 - not for `heads`
    from pyarrow import parquet  # noqa: PLC0415

    columns = {
        "bucket": pa.string(),
        "key": pa.string(),
        "version_id": pa.string(),
        "is_latest": pa.bool_(),
        "is_delete_marker": pa.bool_(),
        "size": pa.int64(),
        "last_modified_date": pa.timestamp("ms"),
        "e_tag": pa.string(),
        "storage_class": pa.string(),
        "encryption_status": pa.string(),
        "bucket_key_status": pa.string(),
    }
    if what == "table":
        del columns["is_latest"], columns["bucket_key_status"]
        columns |= {"is_bucket_key_enabled": pa.bool_(), "kms_key_arn": pa.string()}
    schema = pa.schema(list(columns.items()))
    with parquet.ParquetWriter(path, schema, compression="snappy") as writer:
        for start in range(0, rows, 100_000):
            made = _columns(range(start, min(start + 100_000, rows)))
            writer.write_table(pa.table([made[name] for name in columns], schema=schema))


def _columns(numbers: range) -> dict[str, list[Any]]:
    """Return the columns of these rows.

    One row in 50 is a delete marker, and half have KMS keys.
    """
    count = len(numbers)
    digests = [hashlib.md5(number.to_bytes(8)).hexdigest() for number in numbers]
    statuses = [_STATUSES[number % 4] for number in numbers]
    return {
        "bucket": ["acme-data"] * count,
        "key": [
            f"2026/{n % 365:03}/{n:09}-{digest[:8]}"
            for n, digest in zip(numbers, digests, strict=True)
        ],
        "version_id": digests,
        "is_latest": [True] * count,
        "is_delete_marker": [number % 50 == 0 for number in numbers],
        "size": [number * 7919 % 10**7 for number in numbers],
        "last_modified_date": [
            datetime.fromtimestamp(1.7e9 + number, UTC).replace(tzinfo=None) for number in numbers
        ],
        "e_tag": digests,
        "storage_class": ["STANDARD"] * count,
        "encryption_status": statuses,
        "bucket_key_status": ["ENABLED"] * count,
        "is_bucket_key_enabled": [True] * count,
        "kms_key_arn": [
            f"{_KEY}{n % 50:02}" if status == "SSE-KMS" else None
            for n, status in zip(numbers, statuses, strict=True)
        ],
    }


def _store(server: nullserver.NullServer, what: str, folder: str, rows: int) -> Path:
    """Let the server serve a report of `rows` rows. Return the path of its only part."""
    part = server.serve(_BUCKET, f"{folder}/part.parquet")
    _child("write", what, part, rows)
    with part.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    manifest = {
        "sourceBucket": _BUCKET,
        "destinationBucket": f"arn:aws:s3:::{_BUCKET}",
        "version": "2016-11-30",
        "creationTimestamp": str(int((time.time() - 60) * 1000)),
        "fileFormat": "Parquet",
        "fileSchema": "message s3.inventory { }",
        "files": [
            {
                "key": f"{folder}/part.parquet",
                "size": part.stat().st_size,
                "MD5checksum": md5,
            }
        ],
    }
    text = json.dumps(manifest).encode()
    server.serve(_BUCKET, f"{folder}/manifest.json").write_bytes(text)
    checksum = hashlib.md5(text).hexdigest()
    server.serve(_BUCKET, f"{folder}/manifest.checksum").write_text(checksum)
    return part


def _reach(url: str) -> Any:
    import boto3  # noqa: PLC0415 - large, and not for the process that starts the others

    from s3crypt.audit.objects import Reach  # noqa: PLC0415
    from s3crypt.aws import Clients  # noqa: PLC0415
    from s3crypt.kms.description import KeyReader  # noqa: PLC0415
    from s3crypt.kms.service import KMS  # noqa: PLC0415
    from s3crypt.objects.access import DEFAULT_WORKERS, Objects  # noqa: PLC0415

    session = boto3.Session()
    objects = Objects(
        session=session,
        client=None,
        endpoint_url=url,
        workers=DEFAULT_WORKERS,
        allow_plain_http=True,
        written_in=None,
        expected_bucket_owner=None,
        request_payer=None,
    )
    kms: Any = Clients("kms", session=session, endpoint_url=url, allow_plain_http=True)
    return Reach(objects, KeyReader(KMS(kms)), "111122223333")


def _audit(reach: Any, uri: str, **options: Any) -> dict[str, int]:
    """Audit the objects below a URI. Return the number of objects for each verdict on the mode."""
    from s3crypt.audit.objects import audit_objects  # noqa: PLC0415
    from s3crypt.audit.values import Demands  # noqa: PLC0415

    demands = Demands(modes=frozenset({"sse-kms", "sse-s3"}))
    found = audit_objects(reach, uri, demands, **options)
    modes = [each for each in found if each.control.id == "S3CRYPT.14"]
    return {each.verdict.value: each.count for each in modes}


def _told(began: tuple[float, float]) -> dict[str, float]:
    """Return the wall and CPU seconds since `began`, and this process's peak RSS in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": time.perf_counter() - began[0],
        "cpu": time.process_time() - began[1],
        "peak": peak,
    }


def _counted(what: str, reach: Any, source: str) -> dict[Any, int]:
    """Count the objects of a report or of an export by bucket, status and KMS key."""
    from s3crypt.inventories import (  # noqa: PLC0415
        batches,
        find_export,
        opened_part,
        read_manifest,
    )

    found: dict[Any, int] = {}

    def add(reading: Any) -> None:
        for batch in reading:
            for group, amount in batch.groups().items():
                found[group] = found.get(group, 0) + amount.count

    if what == "table":
        add(find_export(reach.objects, source).batches())
        return found
    manifest = read_manifest(reach.objects, source)
    for part in manifest.parts:
        with opened_part(reach.objects, manifest, part) as file:
            add(batches(manifest, file, ""))
    return found


def one(what: str, url: str, source: str, rows: int) -> dict[str, float]:
    """Audit or count one report in this process. Return its seconds and peak memory."""
    from pyarrow import compute, parquet  # noqa: F401, PLC0415 - not in what is measured

    reach = _reach(url)

    def counts() -> dict[Any, int]:
        if what != "inventory":
            return _counted(what, reach, source)
        return dict(_audit(reach, f"s3://{_BUCKET}/", inventory=source, look="inventory"))

    counts()
    began = time.perf_counter(), time.process_time()
    found = counts()
    # One row in 50 is a delete marker, which is not counted.
    if sum(found.values()) != rows - -(-rows // 50):
        raise workload.BenchmarkError(f"we counted {found} of {rows} rows")
    return _told(began)


def bare(path: str) -> dict[str, float]:
    """Read a Parquet file in this process, with pyarrow alone.

    Return its seconds and peak memory.
    """
    from pyarrow import parquet  # noqa: PLC0415

    parquet.read_table(path)
    began = time.perf_counter(), time.process_time()
    parquet.read_table(path)
    return _told(began)


def inventory(what: str, rounds: int, *, tiny: bool) -> list[dict[str, float]]:
    """Measure an audit or counts by an inventory, each time in a process of its own."""
    rows = 2000 if tiny else 1_000_000
    sizes = {"few": rows // 10, "all": rows}
    with nullserver.running(workload.memory_folder(2**30)) as server:
        parts = {name: _store(server, what, name, count) for name, count in sizes.items()}
        sources = {
            name: part if what == "table" else f"s3://{_BUCKET}/{name}/manifest.json"
            for name, part in parts.items()
        }
        found = []
        for _ in range(rounds):
            ours = {
                name: _child("one", what, server.endpoint_url, source, sizes[name])
                for name, source in sources.items()
            }
            theirs = _child("bare", parts["all"])
            found.append(
                {
                    "ours": ours["all"]["seconds"],
                    "bare": theirs["seconds"],
                    "ours_cpu": ours["all"]["cpu"],
                    "bare_cpu": theirs["cpu"],
                    "peak_few": ours["few"]["peak"],
                    "peak_all": ours["all"]["peak"],
                    "peak_bare": theirs["peak"],
                }
            )
        return found


def _child(*words: object) -> dict[str, float]:
    # On Linux a child's peak memory begins with its parent's peak, so this process stays small.
    command = [sys.executable, str(_HERE / "audits.py"), *map(str, words)]
    said: dict[str, float] = json.loads(workload.output(command, dict(os.environ)))
    return said


def heads(rounds: int, delay: float, *, tiny: bool) -> list[dict[str, float]]:
    """Measure an audit by HEAD of objects in a service that is `delay` milliseconds away."""
    import boto3  # noqa: PLC0415

    count = 20 if tiny else 2000
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(canned.running(folder, delay))
        words = [sys.executable, str(_HERE / "templates.py"), str(folder)]
        workload.output(
            [*words, "--endpoint-url", server.endpoint_url, "--size", "1KiB"], dict(os.environ)
        )
        reach = _reach(server.endpoint_url)
        client = boto3.client("s3", endpoint_url=server.endpoint_url)
        listed = client.list_objects_v2(Bucket="sse-s3", Prefix=f"{count}/")["Contents"]
        names = [each["Key"] for each in listed][: max(1, count // 10)]
        found = []
        for _ in range(rounds):
            began = time.perf_counter()
            counts = _audit(reach, f"s3://sse-s3/{count}/", look="head")
            ours = time.perf_counter() - began
            if counts != {"pass": count}:
                raise workload.BenchmarkError(f"the audit counted {counts} of {count} objects")
            began = time.perf_counter()
            for name in names:
                client.head_object(Bucket="sse-s3", Key=name)
            theirs = (time.perf_counter() - began) * count / len(names)
            found.append({"ours": ours, "one_by_one": theirs})
        return found


def main() -> None:
    """Run the measurement that the arguments name, and print its figures."""
    parser = argparse.ArgumentParser(description="Measure audits of objects.")
    parser.add_argument("what", choices=[*_MEASURED, "heads", "one", "bare", "write"])
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delay", type=float, default=30, metavar="MS")
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args()
    os.environ.update(
        AWS_ACCESS_KEY_ID="none",
        AWS_SECRET_ACCESS_KEY="none",
        AWS_REGION="us-east-1",
        AWS_DEFAULT_REGION="us-east-1",
        # An audit requests the bucket's Region by HeadBucket. The servers do not know this request,
        # so it must not be retried.
        S3CRYPT_RETRY_SECONDS="0",
    )
    said: Any = None
    if asked.what == "one":
        what, url, source, rows = asked.arguments
        said = one(what, url, source, int(rows))
    elif asked.what == "bare":
        said = bare(asked.arguments[0])
    elif asked.what == "write":
        what, path, rows = asked.arguments
        _write(what, Path(path), int(rows))
        said = {}
    elif asked.what in _MEASURED:
        said = inventory(asked.what, asked.rounds, tiny=asked.tiny)
    else:
        said = heads(asked.rounds, asked.delay, tiny=asked.tiny)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
