# SPDX-License-Identifier: Apache-2.0
"""Checks the bucket and the object: existence, owner, Region, encryption, archival and locks."""

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from s3crypt.aws_errors import reply_headers
from s3crypt.buckets.configuration import NOT_SEEN, line, read, region_of
from s3crypt.buckets.settings import AES256, Encryption
from s3crypt.command_lines import aws
from s3crypt.errors import ObjectNotFoundError, S3CryptError
from s3crypt.modes import DSSEKMS, SSEC, SSEKMS, ClientSide, reported_mode
from s3crypt.objects.locks import HEADERS as LOCKS
from s3crypt.transfer.conditions import head

from .refusals import is_denied, of_error
from .values import Area, Case, Diagnosis, Outcome

if TYPE_CHECKING:
    from s3crypt.location import Location

    from .known import Known, Services

_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_RESTORED = 'ongoing-request="false"'
_UNREACHABLE = "S3 cannot be reached"
_NO_CREDENTIALS = "there are no credentials"


def reason_to_skip(known: "Known") -> str | None:
    """Return why no requests can be made to S3, or None if requests can be made."""
    if not known.has_credentials:
        return _NO_CREDENTIALS
    return None if known.is_reachable else _UNREACHABLE


def check_bucket(case: Case, services: "Services", known: "Known") -> Iterator[Diagnosis]:
    """Check that the bucket exists, which account owns it, and its Region."""
    at = case.location
    if at is None or (why := reason_to_skip(known)):
        why = "no bucket is given" if at is None else why
        yield Diagnosis("bucket", Outcome.SKIPPED, Area.S3, str(why))
        return
    client = services.s3.get()
    try:
        known.bucket_region = region_of(client, at.bucket)
    except S3CryptError as error:
        yield _missing_bucket(case, at, known, error)
        return
    yield _owned(at, services, known)
    yield from _region(case, services, known)


def _missing_bucket(case: Case, at: "Location", known: "Known", error: S3CryptError) -> Diagnosis:
    headers = reply_headers(error)
    known.bucket_region = headers.get("x-amz-bucket-region")
    known.dates += [headers["date"]] if headers.get("date") else []
    if error.code in ("404", "NoSuchBucket"):
        seen = f"the bucket {at.bucket} does not exist"
        # Do not suggest to create the bucket for a read: a new bucket would not contain the object.
        following = "aws s3api list-buckets" if case.reads else f"s3crypt bucket init {at.bucket}"
        return Diagnosis("bucket", Outcome.WRONG, Area.S3, seen, following)
    if is_denied(error):
        known.is_own_bucket = None
        where = f" in {known.bucket_region}" if known.bucket_region else ""
        seen = (
            f"{at.bucket}{where} cannot be read: it belongs to another account, or you lack "
            "s3:ListBucket"
        )
        return Diagnosis(
            "bucket",
            Outcome.UNKNOWN,
            Area.POLICY,
            seen,
            "Ask the bucket's owner for s3:ListBucket.",
        )
    return of_error("bucket", Area.S3, error)


def _owned(at: "Location", services: "Services", known: "Known") -> Diagnosis:
    """Report whether the caller's account, or the expected account, owns the bucket."""
    mine = known.identity.caller.account if known.identity else None
    known.is_own_bucket = None if mine is None else _is_of(at, services, mine)
    wanted = services.expected_bucket_owner
    if wanted and not (known.is_own_bucket if wanted == mine else _is_of(at, services, wanted)):
        seen = f"{at.bucket} does not belong to the expected account {wanted}"
        following = "Check the bucket's name, or expect the account that owns it."
        return Diagnosis("bucket", Outcome.WRONG, Area.S3, seen, following)
    whose = {True: "yours", False: "of another account", None: "there"}[known.is_own_bucket]
    return Diagnosis(
        "bucket", Outcome.OK, Area.S3, f"{at.bucket} in {known.bucket_region} is {whose}"
    )


def _is_of(at: "Location", services: "Services", account: str) -> bool | None:
    try:
        region_of(services.s3_of_owner(account), at.bucket)
    except S3CryptError as error:
        return False if is_denied(error) else None
    return True


def _region(case: Case, services: "Services", known: "Known") -> Iterator[Diagnosis]:
    mine, there = services.s3.get().meta.region_name, known.bucket_region
    if mine == there:
        yield Diagnosis("Region", Outcome.OK, Area.REGION, f"{mine}, the same as the bucket's")
        return
    seen = f"the bucket is in {there}, and the requests are for {mine}"
    by_name = isinstance(case.mode, SSEKMS | DSSEKMS) and not case.mode.key.startswith("arn:")
    if by_name:
        # S3 redirects requests to the bucket's Region. KMS does not, so it would look up the key's
        # name in the wrong Region.
        seen += f", where KMS would look for {getattr(case.mode, 'key', '')}"
    else:
        seen += ": S3 redirects them, which costs a round trip"
    outcome = Outcome.WRONG if by_name else Outcome.OK
    yield Diagnosis(
        "Region", outcome, Area.REGION, seen, f"export AWS_DEFAULT_REGION={shlex.quote(str(there))}"
    )


def check_encryption(case: Case, services: "Services", known: "Known") -> Iterator[Diagnosis]:
    """Read the bucket's default encryption, and whether the bucket blocks SSE-C."""
    at = case.location
    if at is None or known.bucket_region is None or reason_to_skip(known):
        return
    try:
        found = read(services.s3.get(), at.bucket, Encryption)
    except S3CryptError as error:
        if error.code in NOT_SEEN:
            seen = "the bucket's encryption cannot be read: you lack s3:GetEncryptionConfiguration"
            yield Diagnosis("encryption of bucket", Outcome.UNKNOWN, Area.POLICY, seen)
        else:
            yield of_error("encryption of bucket", Area.S3, error)
        return
    known.default_key = found.key if found.algorithm != AES256 else None
    key = f" under {found.key or 'aws/s3'}" if found.algorithm != AES256 else ""
    blocked = ", SSE-C is blocked" if found.blocks_sse_c else ""
    name, seen = "encryption of bucket", f"{found.algorithm}{key} by default{blocked}"
    if found.blocks_sse_c and case.writes and isinstance(case.mode, SSEC):
        yield Diagnosis(
            name, Outcome.WRONG, Area.S3, "the bucket blocks SSE-C", _unblocked(at, known, found)
        )
        return
    yield Diagnosis(name, Outcome.OK, Area.S3, seen)


def _region_of(known: "Known") -> str:
    # Quoted because the Region comes from a header of the service's reply.
    return shlex.quote(str(known.bucket_region))


def _unblocked(at: "Location", known: "Known", found: Encryption) -> str:
    unblocked = Encryption(found.algorithm, found.key, found.bucket_key, ())
    return line(at.bucket, str(known.bucket_region), unblocked)


def ask_for_head(case: Case, services: "Services", known: "Known") -> None:
    """Fetch the object's headers. `check_object` reports the reply.

    This request is made before the policy is checked, because a successful HEAD proves that no
    policy denies the read.
    """
    at = case.location
    if at is None or not at.name or known.bucket_region is None or reason_to_skip(known):
        return
    arguments = case.mode.read_arguments() if case.mode and case.reads else {}
    try:
        known.head = head(services.s3.get(), at, arguments)
    except S3CryptError as error:
        known.head_error = error


def check_object(case: Case, known: "Known") -> Iterator[Diagnosis]:
    """Report the facts in the object's headers: its mode, whether it is archived, and its locks."""
    at = case.location
    if at is None or not at.name or known.bucket_region is None or reason_to_skip(known):
        why = "no object is given" if at and not at.name else "the bucket could not be read"
        yield Diagnosis("object", Outcome.SKIPPED, Area.OBJECT, why)
        return
    if known.head_error is not None:
        yield _unseen_object(case, at, known.head_error)
        return
    yield _mode(case, at, known)
    yield from _archive(case, at, known)
    yield from _locks(case, known)


def _unseen_object(case: Case, at: "Location", error: S3CryptError) -> Diagnosis:
    if isinstance(error, ObjectNotFoundError):
        if not case.reads:
            return Diagnosis(
                "object", Outcome.OK, Area.OBJECT, f"the object {at} does not exist yet"
            )
        above = at.name.rpartition("/")[0]
        folder = f"s3://{at.bucket}/{above}{'/' if above else ''}"
        return Diagnosis(
            "object",
            Outcome.WRONG,
            Area.OBJECT,
            f"the object {at} does not exist",
            f"s3crypt ls {shlex.quote(folder)}",
        )
    if error.code in ("400", "InvalidRequest", "InvalidArgument"):
        return _under_customer_key(case, at)
    if is_denied(error) and isinstance(case.mode, SSEC):
        seen = "S3 refuses the customer key: it is the wrong key, or you lack s3:GetObject"
        return Diagnosis(
            "object",
            Outcome.WRONG,
            Area.OBJECT,
            seen,
            f"s3crypt {_verb(case, at)} --sse-c-key-file ITS_KEY_FILE",
        )
    if is_denied(error):
        outcome = Outcome.WRONG if case.reads else Outcome.UNKNOWN
        seen = f"S3 refuses to read {at}: you lack s3:GetObject or s3:ListBucket ({error.code})"
        return Diagnosis(
            "object",
            outcome,
            Area.POLICY,
            seen,
            "Ask for s3:GetObject and s3:ListBucket in your own policies, as `s3crypt policy iam "
            f"reader {at.bucket}` has them.",
        )
    return of_error("object", Area.S3, error)


def _under_customer_key(case: Case, at: "Location") -> Diagnosis:
    if isinstance(case.mode, SSEC):
        seen = (
            "S3 refuses the customer key: the object is in another mode, or the key is the wrong "
            "one"
        )
        return Diagnosis(
            "object", Outcome.WRONG, Area.OBJECT, seen, f"s3crypt inspect {shlex.quote(str(at))}"
        )
    option = "from-sse-c-key-file" if case.purpose == "rotate" else "sse-c-key-file"
    outcome = Outcome.WRONG if case.reads else Outcome.OK
    return Diagnosis(
        "object",
        outcome,
        Area.OBJECT,
        f"{at} is under a customer key (SSE-C), and no key file is given",
        f"s3crypt {_verb(case, at)} --{option} ITS_KEY_FILE",
    )


def _verb(case: Case, at: "Location") -> str:
    """Return the operation with its arguments, as on s3crypt's command line."""
    return f"{case.purpose} {shlex.quote(str(at))}{' .' if case.purpose == 'get' else ''}"


def _mode(case: Case, at: "Location", known: "Known") -> Diagnosis:
    reply: Any = known.head
    found = reported_mode(reply)
    seen = f"{at} exists, {found or 'without encryption that S3 reports'}"
    asked = case.mode
    differs = asked is not None and not isinstance(asked, ClientSide) and asked.name != found
    if case.purpose == "get" and differs:
        return Diagnosis(
            "object",
            Outcome.WRONG,
            Area.OBJECT,
            f"{at} is {found}, not {asked.name if asked else ''}",
            f"s3crypt get {shlex.quote(str(at))} . --mode {found}",
        )
    return Diagnosis("object", Outcome.OK, Area.OBJECT, seen)


def _archive(case: Case, at: "Location", known: "Known") -> Iterator[Diagnosis]:
    reply: Any = known.head
    kind = reply.get("ArchiveStatus") or reply.get("StorageClass")
    is_archived = kind in _ARCHIVED or bool(reply.get("ArchiveStatus"))
    if not is_archived or _RESTORED in str(reply.get("Restore", "")) or not case.reads:
        return
    if reply.get("Restore"):
        seen, following = f"{at} is being restored from {kind}", "Wait: a restore takes hours."
    else:
        days = {} if reply.get("ArchiveStatus") else {"RestoreRequest": {"Days": 7}}
        seen = f"{at} is archived in {kind}"
        region = str(known.bucket_region)
        following = aws("s3api", "restore_object", region, Bucket=at.bucket, Key=at.name, **days)
    yield Diagnosis("archive", Outcome.WRONG, Area.OBJECT, seen, following)


def _locks(case: Case, known: "Known") -> Iterator[Diagnosis]:
    """Report a lock.

    After a rotation, the locked old version, and thus the old key, stays in use.
    """
    reply: Any = known.head
    held = {name: reply[name] for name in LOCKS if reply.get(name) not in (None, "OFF")}
    if not held:
        return
    told = ", ".join(f"{name.removeprefix('ObjectLock')} {value}" for name, value in held.items())
    if case.purpose != "rotate":
        yield Diagnosis("lock", Outcome.OK, Area.OBJECT, told)
        return
    until = reply.get("ObjectLockRetainUntilDate")
    seen = (
        f"this version is locked ({told}) and stays under its old key; rotate writes a new version"
    )
    following = f"Keep the old key until {until:%Y-%m-%d}." if until else "Keep the old key."
    if "ObjectLockLegalHoldStatus" in held:
        # A legal hold preserves evidence, so a rotation must not decide when it ends.
        following = "Keep the old key until the legal hold has ended."
    yield Diagnosis("lock", Outcome.WRONG, Area.OBJECT, seen, following)
