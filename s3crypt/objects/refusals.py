# SPDX-License-Identifier: Apache-2.0
"""Refusals of S3 that are about keys, explained by the mode of the request.

S3 says little of customer keys, and a service with a KMS of its own says it in other words than
AWS: Ceph answers that there is no object where there is no such key. This module makes no request.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError

from s3crypt.errors import KeyUnavailableError, S3CryptError
from s3crypt.modes import DSSEKMS, SSEC, SSEKMS, Mode

# HEAD has no body to carry a code.
_DENIED = ("AccessDenied", "403")
_INVALID = ("InvalidRequest", "InvalidArgument", "400")
# What services with a KMS of their own answer to the name of a key that it has not.
_UNKNOWN_KEY = (*_INVALID, "InvalidAccessKeyId", "KMS.NotFoundException")
# Requests that make an object, for which there need be none before.
_WRITES = ("PutObject", "CreateMultipartUpload")
_OWN_NAMES = "A service with a KMS of its own has its own names of keys."


@contextmanager
def explaining(mode: Mode | None, *, is_write: bool = False) -> Iterator[None]:
    """Add to an error what its mode tells of its cause.

    Raises:
        KeyUnavailableError: The service has no such KMS key, and said that it has no such object.
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
        if hint := _hint(mode, error, is_write=is_write):
            error.hint = f"{error.hint} {hint}" if error.hint else hint
        raise


def _is_of_missing_key(error: S3CryptError) -> bool:
    cause = error.__cause__
    is_write = isinstance(cause, ClientError) and cause.operation_name in _WRITES
    return is_write and error.code == "NoSuchKey"


def _subject(error: S3CryptError) -> str:
    """Return what an error is about, which its message begins with."""
    return str(error).rpartition(": ")[0]


def _hint(mode: Mode | None, error: S3CryptError, *, is_write: bool) -> str | None:
    if isinstance(mode, SSEC):
        return _customer_key_hint(error, is_write=is_write)
    if isinstance(mode, SSEKMS | DSSEKMS) and is_write:
        # An ARN is AWS's own name of a key.
        may_be_name = error.code in _UNKNOWN_KEY and not mode.key.startswith("arn:")
        return f"Or it has no KMS key {mode.key}. {_OWN_NAMES}" if may_be_name else None
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
        return "Or the customer key is the wrong one."
    if error.code in _INVALID and is_write:
        return "The service may take customer keys by https:// only, or not at all."
    if error.code in _INVALID:
        # AWS answers a wrong key with 403, and Ceph with 400.
        return (
            "The customer key may be the wrong one, or the object may be stored in another mode "
            "than sse-c."
        )
    return None
