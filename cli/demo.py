# SPDX-License-Identifier: Apache-2.0
"""`demo`: puts, gets and rotates one file in every mode on a local sandbox, and compares it."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import s3crypt
from s3crypt.errors import IntegrityError, KeyUnavailableError, S3CryptError, StorageError

from .help import DocumentedCommand
from .options import enter_sandbox, logging_options
from .output import print_json, print_table, progress, say, size_text

if TYPE_CHECKING:
    from s3crypt import Mode, S3Crypt

_GENERATED = 16 * 2**20


@dataclass(frozen=True, slots=True)
class _Step:
    """One row of the table: the mode and key of the put, and of the rotation."""

    label: str
    key_holder: str
    first: "Mode"
    second: "Mode"
    # The first key if it is a KMS key. It is disabled while the rotated object is read.
    kms_key: str | None = None
    # After the rotation, a reader that has only the first key must get this error.
    refusal: type[S3CryptError] | None = None


@dataclass(frozen=True, slots=True)
class _Result:
    """The results of the file in one mode."""

    mode: str
    key_holder: str
    bytes_stored: int
    put_mb_per_s: float
    get_mb_per_s: float
    rotation: str
    rotation_bytes_moved: int
    rotation_seconds: float
    identical: bool


@click.command(cls=DocumentedCommand)
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line, for programs."
)
@click.option("--quiet", "-q", is_flag=True, help="No remarks: only the table and errors.")
@logging_options
@click.option("--sandbox", is_flag=True, help="Use only the running `s3crypt sandbox`.")
def demo(file: Path | None, as_json: bool, quiet: bool, sandbox: bool) -> None:
    """Try every mode on this machine, without AWS.

    FILE (or 16 MiB of random bytes) is put, inspected, fetched and compared bit for bit. Then it
    is rotated to a second key, fetched with the second key alone, and compared again. The demo
    uses the running sandbox, or starts one. The exit code is not 0 if anything differs.

    \b
    s3crypt demo
    s3crypt demo q3.csv --json
    """
    from tempfile import TemporaryDirectory  # noqa: PLC0415 - it is slow to load

    silent = as_json or quiet
    size = _GENERATED if file is None else file.stat().st_size
    with TemporaryDirectory(prefix="s3crypt-demo-") as scratch, _sandbox(must_run=sandbox) as own:
        if file is None:
            file = Path(scratch, "generated.bin")
            file.write_bytes(os.urandom(size))
        bucket = _bucket()
        if not silent:
            _introduce(file, size, bucket, own=own)
        results = []
        for step in _steps():
            with progress(step.label, 3 * size or None, quiet=silent) as advance:
                results.append(_run(step, file, bucket, Path(scratch), advance))
        _show(results, as_json=as_json)
        if not all(result.identical for result in results):
            raise IntegrityError("A fetched file differs from the stored one; see the table.")
        if not silent:
            _conclude(file, bucket, own=own)


@contextmanager
def _sandbox(*, must_run: bool) -> Iterator[bool]:
    """Send this process's requests to a sandbox; yield whether it is private to this process."""
    from s3crypt import sandbox  # noqa: PLC0415 - only needed here

    if must_run or sandbox.status() is not None:
        enter_sandbox()
        yield False
        return
    with sandbox.running() as private:
        os.environ.update(sandbox.environment(private))
        yield True


def _bucket() -> str:
    """Make a bucket that also accepts SSE-C, which new buckets block since April 2026."""
    import boto3  # noqa: PLC0415 - as everywhere in the command

    name = f"s3crypt-demo-{secrets.token_hex(4)}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    rule: Any = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
        "BlockedEncryptionTypes": {"EncryptionType": ["NONE"]},
    }
    client.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    return name


def _steps() -> tuple[_Step, ...]:
    manager = s3crypt.KeyManager()
    first, second = (manager.create(description="s3crypt demo").arn for _ in range(2))
    old, new = s3crypt.KMSKeyring(first), s3crypt.KMSKeyring(second)
    s3 = s3crypt.SSES3()
    return (
        _Step("sse-s3", "S3", s3, s3),
        _Step("sse-kms", "AWS KMS", s3crypt.SSEKMS(first), s3crypt.SSEKMS(second), first),
        _Step("dsse-kms", "AWS KMS", s3crypt.DSSEKMS(first), s3crypt.DSSEKMS(second), first),
        _Step(
            "sse-c",
            "you",
            s3crypt.SSEC(secrets.token_bytes(32)),
            s3crypt.SSEC(secrets.token_bytes(32)),
            refusal=StorageError,
        ),
        _Step(
            "client, header",
            "keyring",
            s3crypt.ClientSide(old),
            s3crypt.ClientSide(new),
            first,
            KeyUnavailableError,
        ),
        _Step(
            "client, metadata",
            "keyring",
            s3crypt.ClientSide(old, key_location="metadata"),
            s3crypt.ClientSide(new, key_location="metadata"),
            first,
            KeyUnavailableError,
        ),
    )


def _run(step: _Step, file: Path, bucket: str, scratch: Path, advance: Any) -> _Result:
    uri = f"s3://{bucket}/{step.label.replace(', ', '-')}/{file.name}"
    size = file.stat().st_size
    store = s3crypt.S3Crypt(step.first)
    # The first request also creates a client and its connections, which must not be timed.
    store.put(b"first", uri)
    put_seconds, _ = _timed(lambda: store.put(file, uri, progress=advance))
    info = store.inspect(uri)
    back = scratch / "back"
    get_seconds, _ = _timed(lambda: store.get(uri, back, progress=advance))
    same = _same(file, back)
    (outcome,) = store.rotate(uri, to=step.second)
    with _disabled(step.kms_key):
        s3crypt.S3Crypt(step.second).get(uri, back, progress=advance)
    same = same and _same(file, back)
    same = same and (step.refusal is None or _is_refused(store, uri, step.refusal))
    return _Result(
        mode=step.label,
        key_holder=step.key_holder,
        bytes_stored=info.stored_size,
        put_mb_per_s=round(size / put_seconds / 1e6, 1),
        get_mb_per_s=round(size / get_seconds / 1e6, 1),
        rotation="by S3" if step.first == step.second else outcome.action,
        rotation_bytes_moved=outcome.bytes_moved,
        rotation_seconds=round(outcome.seconds, 3),
        identical=same,
    )


def _timed(action: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    value = action()
    return time.perf_counter() - started, value


def _same(one: Path, other: Path) -> bool:
    from filecmp import cmp  # noqa: PLC0415 - only needed here

    return cmp(one, other, shallow=False)


@contextmanager
def _disabled(key: str | None) -> Iterator[None]:
    """Disable a KMS key, if there is one, until the block ends, so that no read can use it."""
    if key is None:
        yield
        return
    import boto3  # noqa: PLC0415 - as everywhere in the command

    client = boto3.client("kms")
    client.disable_key(KeyId=key)
    try:
        yield
    finally:
        client.enable_key(KeyId=key)


def _is_refused(store: "S3Crypt", uri: str, refusal: type[S3CryptError]) -> bool:
    """Return whether a reader that has only the first key is refused with this error."""
    try:
        store.read(uri)
    except refusal:
        return True
    return False


def _introduce(file: Path, size: int, bucket: str, *, own: bool) -> None:
    where = "a sandbox of its own" if own else "the sandbox that runs here"
    say(f"{file.name} ({size:,} bytes) through every mode, on {where}: no AWS, no cost.")
    say(f"Two KMS keys and the bucket {bucket} were made. New buckets refuse SSE-C, so this")
    say("one was told to allow it (PutBucketEncryption, BlockedEncryptionTypes: NONE).")
    say("")


def _show(results: list[_Result], *, as_json: bool) -> None:
    if as_json:
        for result in results:
            print_json({name: getattr(result, name) for name in _Result.__dataclass_fields__})
        return
    # The table fits into 80 columns, whatever the file's size.
    headers = ("mode", "key", "stored", "put", "get", "rotation", "moved")
    rows = [
        (
            result.mode,
            result.key_holder,
            size_text(result.bytes_stored),
            f"{result.put_mb_per_s:.0f}",
            f"{result.get_mb_per_s:.0f}",
            result.rotation if result.identical else "DIFFERS",
            size_text(result.rotation_bytes_moved),
        )
        for result in results
    ]
    print_table(headers, rows)


def _conclude(file: Path, bucket: str, *, own: bool) -> None:
    say("")
    say("Every copy came back bit for bit, before and after its rotation; what was moved")
    say("to a second key was read without the first. Speeds are this sandbox's, in MB/s.")
    say("")
    say("Next:")
    if own:
        say("  s3crypt sandbox start                  # one that stays, for the lines below")
        say("  s3crypt keys create --alias trial --sandbox")
        say("  s3crypt demo                           # again; its bucket then stays to look at")
    else:
        say(f"  s3crypt ls -r s3://{bucket}/ --sandbox")
        say(f"  s3crypt inspect s3://{bucket}/client-header/{file.name} --sandbox")
    say("  s3crypt put --help")
