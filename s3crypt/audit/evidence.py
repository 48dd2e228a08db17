# SPDX-License-Identifier: Apache-2.0
"""The evidence folder: the report, the API replies behind the findings, and a manifest.

Event handlers on the auditor's own botocore clients record the replies. Customer keys, tokens and
object bytes are never recorded. Two runs that received the same replies write identical files,
except for `run.json`, `report.html`, `moments.jsonl` and the manifest. `diff -r` can therefore
compare two folders.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from botocore.client import BaseClient

from s3crypt.errors import ConfigError, LocalFileNotFoundError, StorageError
from s3crypt.local.files import hint_for
from s3crypt.redaction import REDACTED, SECRETS

from .html import html
from .jsonl import finding_lines, moment, summary
from .report import Report
from .values import Answer

MANIFEST = "SHA256SUMS"
# MD5s of customer keys count as secrets: they would show which objects have the same key.
_SECRETS = frozenset(
    {*SECRETS, "SSECustomerKeyMD5", "CopySourceSSECustomerKeyMD5", "SSEKMSEncryptionContext"}
)
_LEFT_OUT = "[bytes left out]"
_READS = ("Get", "Head", "List", "Describe", "Lookup", "Search", "Batch", "Simulate", "Validate")
_README = """The evidence of an audit by s3crypt.

run.json        who asked, when, with which tool and arguments, and the counts
findings.jsonl  one finding per line, in the same order in every run
report.html     the same for people
replies/        the replies that the findings rest on: service-Operation.jsonl, one per line, sorted
moments.jsonl   when each reply came, with the service's request id: `sha256` is that of the reply
baseline.toml   the accepted findings, if a baseline was given
SHA256SUMS      the hash of every file here:  sha256sum -c SHA256SUMS

Customer keys, tokens and the bytes of objects are left out. To compare with a later run:
diff -r -x run.json -x report.html -x moments.jsonl -x SHA256SUMS THIS LATER
"""


class Evidence:
    """Collects replies in a staging folder. `finish` writes the files and renames the folder.

    `collecting` creates an instance.
    """

    def __init__(self, folder: Path, staging: Path) -> None:
        self._folder = folder
        self._staging = staging
        self._lock = threading.Lock()
        # There may be millions of replies, so SQLite sorts them on disk.
        self._store = sqlite3.connect(staging / "replies.sqlite", check_same_thread=False)
        self._store.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
            "CREATE TABLE replies (file TEXT, line TEXT, digest TEXT, moment TEXT, request TEXT)"
        )

    def observe(self, client: BaseClient) -> None:
        """Record every reply that the client receives from now on."""
        events = client.meta.events
        events.register("provide-client-params", _note_request)
        events.register("after-call", self._note_reply)

    def record(self, answer: Answer, request_id: str = "") -> None:
        """Record one reply.

        Raises:
            StorageError: The reply cannot be stored on disk.
        """
        body = {
            "service": answer.service,
            "operation": answer.operation,
            "region": answer.region,
            "request": _without_secrets(answer.request),
            "reply": _reply(answer),
        }
        text = json.dumps(body, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        row = (f"{answer.service}-{answer.operation}", text, digest, moment(answer.moment))
        with self._lock, _storing(self._folder):
            self._store.execute("INSERT INTO replies VALUES (?, ?, ?, ?, ?)", (*row, request_id))

    def finish(self, report: Report, baseline: Path | None = None) -> None:
        """Write the report, the replies and the manifest, and rename the staging folder.

        Raises:
            StorageError: A file cannot be written.
        """
        with _reporting(self._folder), _storing(self._folder):
            self._write("README.txt", [_README])
            described = {**summary(report), "notes": report.notes()}
            self._write("run.json", [json.dumps(described, indent=1), "\n"])
            self._write("findings.jsonl", finding_lines(report))
            self._write("report.html", html(report))
            if baseline is not None:
                shutil.copyfile(baseline, self._staging / "baseline.toml")
            self._write_replies()
            self.close()
            self._write_manifest()
            self._staging.rename(self._folder)

    def close(self) -> None:
        """Delete the database of recorded replies."""
        self._store.close()
        (self._staging / "replies.sqlite").unlink(missing_ok=True)

    def _write_replies(self) -> None:
        (self._staging / "replies").mkdir()
        with self._lock:
            files = [row[0] for row in self._store.execute("SELECT DISTINCT file FROM replies")]
            for name in files:
                rows = self._store.execute(
                    "SELECT line FROM replies WHERE file = ? ORDER BY line", (name,)
                )
                self._write(f"replies/{name}.jsonl", (f"{text}\n" for (text,) in rows))
            rows = self._store.execute("SELECT digest, moment, request FROM replies ORDER BY rowid")
            names = ("sha256", "moment", "request_id")
            lines = (json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
            self._write("moments.jsonl", lines)

    def _write(self, name: str, chunks: Iterable[str]) -> None:
        with (self._staging / name).open("w", encoding="utf-8", newline="") as file:
            file.writelines(chunks)

    def _write_manifest(self) -> None:
        files = sorted(path for path in self._staging.rglob("*") if path.is_file())
        lines = [f"{_digest(path)}  {path.relative_to(self._staging)}\n" for path in files]
        self._write(MANIFEST, lines)

    def _note_reply(
        self, http_response: Any, parsed: Any, model: Any, context: Any, **_: Any
    ) -> None:
        metadata = parsed.get("ResponseMetadata", {})
        answer = Answer(
            service=model.service_model.service_name,
            operation=model.name,
            region=str(context.get("client_region") or ""),
            request=context.get("s3crypt_request", {}),
            reply={
                **{name: value for name, value in parsed.items() if name != "ResponseMetadata"},
                "HTTPStatusCode": http_response.status_code,
            },
            moment=datetime.now(UTC),
        )
        self.record(answer, str(metadata.get("RequestId", "")))


@contextmanager
def collecting(folder: str | Path) -> Iterator[Evidence]:
    """Yield an `Evidence` for a new folder, which appears complete or not at all.

    Raises:
        ConfigError: The folder exists.
        LocalFileNotFoundError: The parent folder does not exist.
        StorageError: The folder cannot be created.
    """
    path = Path(os.path.abspath(folder))  # noqa: PTH100 - links stay as they are
    if os.path.lexists(path):
        raise ConfigError(f"{folder} exists.", hint="Name a folder that does not exist yet.")
    staging = path.parent / f".{path.name}.{token_hex(6)}.s3crypt"
    with _reporting(folder):
        # Other users of the machine must not read the configuration of the account.
        staging.mkdir(mode=0o700)
    try:
        with _storing(path):
            evidence = Evidence(path, staging)
        try:
            yield evidence
        finally:
            evidence.close()
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _reporting(folder: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise LocalFileNotFoundError(
            f"{folder}: there is no such folder to write it in.", hint="Make the folder above it."
        ) from error
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}.", hint=hint_for(error)) from error


@contextmanager
def _storing(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(
            f"{folder}: the replies cannot be kept: {error}.", hint="Make room on the disk."
        ) from error


def _note_request(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
    # Copy the parameters as the caller passed them, because botocore's handlers modify them later.
    context["s3crypt_request"] = dict(params)


def _reply(answer: Answer) -> object:
    """Return a reply without secrets.

    For an operation that is not a read, return only the status.
    """
    if not answer.operation.startswith(_READS):
        return {"HTTPStatusCode": answer.reply.get("HTTPStatusCode")}
    return _without_secrets(answer.reply)


def _without_secrets(value: object) -> object:
    """Return a value that JSON can represent, without secrets and without bytes."""
    if isinstance(value, Mapping):
        return {
            str(name): REDACTED if name in _SECRETS else _without_secrets(each)
            for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without_secrets(each) for each in value]
    if isinstance(value, datetime):
        return moment(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return _LEFT_OUT


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
