# SPDX-License-Identifier: Apache-2.0
"""Objects for audits, inventory reports about them, and execution of the commands of fixes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shlex
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import boto3
from hardening_samples import undo
from s3crypt_cli.main import run

from s3crypt.audit import Auditor
from s3crypt.audit.values import Demands, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from s3crypt.audit.values import Finding

COLUMNS = (
    "Bucket",
    "Key",
    "VersionId",
    "IsLatest",
    "IsDeleteMarker",
    "Size",
    "LastModifiedDate",
    "ETag",
    "StorageClass",
    "EncryptionStatus",
    "BucketKeyStatus",
)


def audit(uri: str, demands: Demands | None = None, **options: Any) -> list[Finding]:
    """Return all findings about objects."""
    auditor = Auditor(session=boto3.Session())
    return list(auditor.objects(uri, demands or Demands(), **options))


def of(findings: Sequence[Finding], number: int) -> list[Finding]:
    """Return the findings of the control with this number, S3CRYPT.`number`."""
    return [each for each in findings if each.control.id == f"S3CRYPT.{number}"]


def verdicts(findings: Sequence[Finding], number: int) -> dict[str, int]:
    """Return the number of objects per verdict of the control S3CRYPT.`number`."""
    found: dict[str, int] = {}
    for each in of(findings, number):
        found[each.verdict.value] = found.get(each.verdict.value, 0) + each.count
    return found


def carry_out(text: str, file: Path, key_file: str = "") -> None:
    """Execute the printed lines of a fix. FILE, COPY and FOLDER in them are replaced first."""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        for part in line.split(" && "):
            if part.startswith("aws "):
                undo(part)
                continue
            words = [
                word.replace("=FILE", f"={key_file}").replace("FOLDER", f"{file}.d")
                for word in shlex.split(part)
            ]
            words = [str(file) if word == "COPY" else word for word in words]
            assert words[0] == "s3crypt"
            assert run([*words[1:], "--quiet"]) == 0, part


@dataclass
class Line:
    """A row of an inventory."""

    name: str
    status: str | None = "SSE-S3"
    version_id: str = ""
    is_latest: bool = True
    is_marker: bool = False
    storage_class: str = "STANDARD"
    etag: str = "0" * 32
    size: int = 11


@dataclass
class Report:
    """An inventory report to be stored in a bucket."""

    source: str
    target: str
    lines: Sequence[Line]
    format: str = "CSV"
    columns: Sequence[str] = COLUMNS
    age_seconds: float = 3600
    parts: int = 1
    manifest: dict[str, Any] = field(default_factory=dict)
    whole: bytes | None = None

    def store(self, s3: Any) -> str:
        """Store the report; return the URI of its manifest."""
        folder = f"reports/{self.source}/all/{uuid.uuid4().hex}"
        files = []
        for number in range(self.parts):
            body = self.body(self.lines[number :: self.parts])
            key = f"reports/{self.source}/all/data/{uuid.uuid4()}.{self.format.lower()}"
            s3.put_object(Bucket=self.target, Key=key, Body=body)
            md5 = hashlib.md5(body).hexdigest()
            files.append({"key": key, "size": len(body), "MD5checksum": md5})
        self.manifest = {
            "sourceBucket": self.source,
            "destinationBucket": f"arn:aws:s3:::{self.target}",
            "version": "2016-11-30",
            "creationTimestamp": str(int((time.time() - self.age_seconds) * 1000)),
            "fileFormat": self.format,
            "fileSchema": ", ".join(self.columns) if self.format == "CSV" else "struct<>",
            "files": files,
            **self.manifest,
        }
        text = json.dumps(self.manifest).encode()
        s3.put_object(Bucket=self.target, Key=f"{folder}/manifest.json", Body=text)
        checksum = f"{hashlib.md5(text).hexdigest()}\n".encode()
        s3.put_object(Bucket=self.target, Key=f"{folder}/manifest.checksum", Body=checksum)
        return f"s3://{self.target}/{folder}/manifest.json"

    def body(self, lines: Sequence[Line]) -> bytes:
        """Return a part of the report with these rows, in the form in which S3 stores it."""
        if self.whole is not None:
            return self.whole
        if self.format == "CSV":
            return gzip.compress(_csv(self, lines))
        return _arrow(self, lines)


def _values(report: Report, line: Line) -> dict[str, Any]:
    return {
        "Bucket": report.source,
        "Key": line.name,
        "VersionId": line.version_id,
        "IsLatest": line.is_latest,
        "IsDeleteMarker": line.is_marker,
        "Size": None if line.is_marker else line.size,
        "LastModifiedDate": "2026-04-12T06:45:57.000Z",
        "ETag": None if line.is_marker else line.etag,
        "StorageClass": None if line.is_marker else line.storage_class,
        "EncryptionStatus": None if line.is_marker else line.status,
        "BucketKeyStatus": "DISABLED",
    }


def _csv(report: Report, lines: Sequence[Line]) -> bytes:
    text = io.StringIO()
    for line in lines:
        values = _values(report, line)
        values["Key"] = quote_plus(line.name, safe="/")
        said = [values[name] for name in report.columns]
        said = [str(each).lower() if isinstance(each, bool) else each for each in said]
        cells = ["" if each is None else str(each) for each in said]
        text.write(",".join(f'"{each}"' for each in cells) + "\n")
    return f"{text.getvalue()}\n".encode()


_SNAKE = {
    "Bucket": "bucket",
    "Key": "key",
    "VersionId": "version_id",
    "IsLatest": "is_latest",
    "IsDeleteMarker": "is_delete_marker",
    "Size": "size",
    "LastModifiedDate": "last_modified_date",
    "ETag": "e_tag",
    "StorageClass": "storage_class",
    "EncryptionStatus": "encryption_status",
    "BucketKeyStatus": "bucket_key_status",
}


def _arrow(report: Report, lines: Sequence[Line]) -> bytes:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import orc, parquet  # noqa: PLC0415

    rows = [_values(report, line) for line in lines]
    types = {"IsLatest": pa.bool_(), "IsDeleteMarker": pa.bool_(), "Size": pa.int64()}
    columns = {
        _SNAKE[name]: pa.array([row[name] for row in rows], types.get(name, pa.string()))
        for name in report.columns
    }
    sink = io.BytesIO()
    table = pa.table(columns)
    if report.format == "ORC":
        orc.write_table(table, sink, compression="zlib")
    else:
        parquet.write_table(table, sink, compression="snappy", row_group_size=1000)
    return sink.getvalue()


def count_of(findings: Sequence[Finding], verdict: Verdict) -> int:
    """Return how many findings have a verdict."""
    return sum(each.verdict is verdict for each in findings)


def environment() -> dict[str, str]:
    """Return the environment for a separate process."""
    return dict(os.environ)
