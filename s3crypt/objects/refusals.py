# SPDX-License-Identifier: Apache-2.0
"""Add explanations to S3's errors about keys, by the mode of the request.

S3's errors about customer keys have little detail. Services with their own KMS use other error
codes than AWS: Ceph reports a missing key as a missing object. This module makes no requests.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError

from s3crypt.errors import KeyUnavailableError, S3CryptError
from s3crypt.modes import DSSEKMS, SSEC, SSEKMS, Mode

# The reply to a HEAD has no body with an error code, so status codes are listed too.
_DENIED = ("AccessDenied", "403")
_INVALID = ("InvalidRequest", "InvalidArgument", "400")
# The error codes for unknown keys, from services with their own KMS.
_UNKNOWN_KEY = (*_INVALID, "InvalidAccessKeyId", "KMS.NotFoundException")
# Requests that create an object. They cannot fail because an object is missing.
_WRITES = ("PutObject", "CreateMultipartUpload")
# A part of AWS's long error message to a GET of an SSE-C object without its key. The message does
# not contain the word SSE-C.
_NEEDS_CUSTOMER_KEY = "stored using a form of Server Side Encryption"
_OWN_NAMES = "A service with a KMS of its own has its own names of keys."


@contextmanager
def explaining(mode: Mode | None, *, is_write: bool = False) -> Iterator[None]:
    """Add a hint about the likely cause to an error, depending on the mode of the request.

    Raises:
        KeyUnavailableError: The service reported a missing object, but the KMS key is missing.
    """
    try:
        yield
    except S3CryptError as error:
        if isinstance(mode, SSEKMS | DSSEKMS) and _is_of_missing_key(error):
            raise KeyUnavailableError(
                f"{_subject(error)}: the service has no KMS key {mode.key}",
                hint=f"Check the key's name. {_OWN_NAMES}",
                code=error.code,
                request_id=error.request_id,
            ) from error.__cause__
        if _NEEDS_CUSTOMER_KEY in str(error):
            subject = str(error).partition(f": {error.code}: ")[0]
            error.args = (
                f"{subject}: a customer key (SSE-C) encrypts the object, and S3 has no copy of it",
            )
        if hint := _hint(mode, error, is_write=is_write):
            error.hint = f"{error.hint} {hint}" if error.hint else hint
        raise


def _is_of_missing_key(error: S3CryptError) -> bool:
    cause = error.__cause__
    is_write = isinstance(cause, ClientError) and cause.operation_name in _WRITES
    return is_write and error.code == "NoSuchKey"


def _subject(error: S3CryptError) -> str:
    """Return the subject of an error, which is the beginning of its message."""
    return str(error).rpartition(": ")[0]


def _hint(mode: Mode | None, error: S3CryptError, *, is_write: bool) -> str | None:
    if isinstance(mode, SSEC):
        return _customer_key_hint(error, is_write=is_write)
    if isinstance(mode, SSEKMS | DSSEKMS) and is_write:
        # Only AWS names keys by ARN, so another form may be the name of a key of the service's own
        # KMS.
        may_be_name = error.code in _UNKNOWN_KEY and not mode.key.startswith("arn:")
        return f"Or the service has no KMS key {mode.key}. {_OWN_NAMES}" if may_be_name else None
    if is_write or error.code not in _INVALID:
        return None
    if "kms" in str(error).lower():
        return "The service could not get the object's key from its own KMS."
    return "The object may be stored in mode sse-c, which needs its customer key."


def _customer_key_hint(error: S3CryptError, *, is_write: bool) -> str | None:
    if error.code in _DENIED and is_write:
        return (
            "Or the bucket blocks SSE-C, as buckets made since April 2026 do: allow it with "
            "put-bucket-encryption and BlockedEncryptionTypes={EncryptionType=[NONE]}."
        )
    if error.code in _DENIED:
        return "Or the customer key is wrong."
    if error.code in _INVALID and is_write:
        return "The service may accept customer keys only by https://, or not at all."
    if error.code in _INVALID:
        # For a wrong customer key, AWS replies 403 and Ceph replies 400.
        return "The customer key may be wrong, or the object may not be stored in mode sse-c."
    return None
