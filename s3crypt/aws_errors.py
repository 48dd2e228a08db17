# SPDX-License-Identifier: Apache-2.0
"""Errors of AWS and of botocore as s3crypt's own, with the service's code and request id."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, TypeAlias

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from .errors import (
    ConfigError,
    ConflictError,
    IntegrityError,
    KeyUnavailableError,
    ObjectNotFoundError,
    Remedy,
    S3CryptError,
    StorageError,
)


@contextmanager
def map_aws_errors(subject: str, failure: type[S3CryptError] = StorageError) -> Iterator[None]:
    """Turn any botocore error raised inside into ours.

    Args:
        subject: The object or key that the request is about.
        failure: What a refusal or failure is that has no type of its own: KeyUnavailableError
            where KMS is asked.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise translate(error, subject, failure) from error


def translate(
    error: ClientError | BotoCoreError, subject: str, failure: type[S3CryptError] = StorageError
) -> S3CryptError:
    """Return our error for botocore's, with its code and request id; the caller raises it."""
    if isinstance(error, ClientError):
        return _from_reply(error, subject, failure)
    if is_unsendable(error):
        # Python's error repeats the header's value, which may be a session token.
        return ConfigError(
            f"{subject}: a header of the request cannot be sent.",
            hint="Check credentials and metadata for line breaks.",
        )
    if isinstance(error, BotoConnectionError | HTTPClientError):
        return failure(f"Could not reach the service for {subject}: {error}", hint=_NETWORK_HINT)
    for kinds, message, advice in _LOCAL:
        if isinstance(error, kinds):
            return ConfigError(message.format(subject=subject, error=error), **_advised(advice))
    return failure(f"{subject}: {error}")


# What is wrong with the bucket, the account or the credentials is wrong for every object.
_FOR_ALL = frozenset(
    {
        "AccountProblem",
        "AllAccessDisabled",
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "ExpiredTokenException",
        "IllegalLocationConstraintException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "NoSuchBucket",
        "PermanentRedirect",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)


def is_for_all(error: S3CryptError) -> bool:
    """Return whether an error would meet every other object of the bucket too."""
    cause = error.__cause__
    if isinstance(cause, BotoCoreError):
        # Before a request was made, or without an answer; a reply that breaks off is one object's.
        is_of_item = isinstance(cause, ParamValidationError) or is_unsendable(cause)
        never_sent = isinstance(error, ConfigError) and not is_of_item
        return never_sent or isinstance(cause, EndpointConnectionError)
    return (error.code or "").removeprefix("KMS.") in _FOR_ALL


# Codes of requests that came too fast; S3 prefixes KMS's.
THROTTLES = frozenset(
    {
        "BandwidthLimitExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)


def is_throttle(error: BaseException) -> bool:
    """Return whether the service that sent a refusal was asked too often."""
    code = error_code(error).removeprefix("KMS.")
    # The reply to a HEAD has no body for a code, and a 503 of S3 is "Slow Down".
    return code in THROTTLES or code == "503" or http_status(error) == HTTPStatus.TOO_MANY_REQUESTS


def is_unsendable(error: BaseException) -> bool:
    """Return whether a request was never sent because of what a header of it contains."""
    if not isinstance(error, HTTPClientError):
        return False
    return isinstance(error.kwargs.get("error"), ValueError)


_Advice: TypeAlias = str | Remedy | None
_SIGN_IN = Remedy("sign_in")
# What goes wrong before a service answers.
_LOCAL: tuple[tuple[tuple[type[BotoCoreError], ...], str, _Advice], ...] = (
    ((NoCredentialsError, PartialCredentialsError), "No AWS credentials.", _SIGN_IN),
    ((SSOError, TokenRetrievalError), "AWS sign-in failed: {error}", _SIGN_IN),
    (
        (InvalidRegionError, NoRegionError, ProfileNotFound),
        "{error}",
        "Set AWS_DEFAULT_REGION or AWS_PROFILE.",
    ),
    ((ParamValidationError,), "{subject}: {error}", None),
)
SETTINGS_HINT = "Check AWS_* in the environment and the AWS configuration file."
_NETWORK_HINT = "Check the network, the region and the endpoint URL."
_SET_REGION = Remedy("set_region")
_DENIED_HINT = "Ask for the permission named in the service's message."
# code -> (type, what happened, what to do). S3 prefixes KMS's codes with "KMS.".
_CODES: dict[str, tuple[type[S3CryptError], str, _Advice]] = {
    "NoSuchKey": (ObjectNotFoundError, "no such object", Remedy("list_objects")),
    "NoSuchVersion": (ObjectNotFoundError, "no such version", "Check the version id."),
    "NoSuchUpload": (
        StorageError,
        "the upload is gone: aborted by someone else, or completed by an attempt before",
        "Look at the object before you run it again.",
    ),
    "NoSuchBucket": (StorageError, "no such bucket", "Check the name, or create the bucket."),
    "PreconditionFailed": (
        ConflictError,
        "it exists or was changed by another writer",
        "Theirs was kept. Look at it, then decide.",
    ),
    "ConditionalRequestConflict": (
        ConflictError,
        "another writer was writing it at the same time",
        "Run it again.",
    ),
    "InvalidObjectState": (StorageError, "it is archived", "Restore it from Glacier first."),
    "PermanentRedirect": (StorageError, "the bucket is in another region", _SET_REGION),
    "AuthorizationHeaderMalformed": (StorageError, "wrong region", _SET_REGION),
    "IllegalLocationConstraintException": (StorageError, "wrong region", _SET_REGION),
    "InvalidAccessKeyId": (StorageError, "the access key is unknown", "Check the credentials."),
    "SignatureDoesNotMatch": (StorageError, "the secret key is wrong", "Check the credentials."),
    "ExpiredToken": (StorageError, "the credentials have expired", "Sign in again."),
    "DisabledException": (KeyUnavailableError, "the key is disabled", "Enable it in KMS."),
    "KMSInvalidStateException": (
        KeyUnavailableError,
        "the key's state forbids it (disabled, pending deletion or import)",
        "Cancel its deletion or enable it in KMS, while that is possible.",
    ),
    "NotFoundException": (
        KeyUnavailableError,
        "no such key",
        "Check the key's ARN or alias, its region and account.",
    ),
    "KeyUnavailableException": (KeyUnavailableError, "the key is not available now", "Try later."),
    "ThrottlingException": (KeyUnavailableError, "KMS throttled the requests", "Try later."),
    "InvalidKeyUsageException": (
        KeyUnavailableError,
        "the key cannot wrap data keys",
        "Use a symmetric ENCRYPT_DECRYPT key.",
    ),
    "InvalidCiphertextException": (
        IntegrityError,
        "KMS could not open the wrapped data key: wrong key, changed, or another context",
        None,
    ),
    "IncorrectKeyException": (
        IntegrityError,
        "the data key is wrapped by another KMS key than the one named",
        Remedy("inspect_object"),
    ),
}


def error_code(error: BaseException) -> str:
    """Return the service's code of a botocore ClientError, or an empty string."""
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def http_status(error: BaseException | None) -> int:
    """Return the HTTP status of a service's refusal, of ours for it too; 0 for anything else."""
    if isinstance(error, S3CryptError):
        error = error.__cause__
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def reply_headers(error: BaseException | None) -> Mapping[str, str]:
    """Return the headers of a service's refusal, of ours for it too, names in lower case."""
    if isinstance(error, S3CryptError):
        error = error.__cause__
    if not isinstance(error, ClientError):
        return {}
    headers: Mapping[str, str] = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def _from_reply(error: ClientError, subject: str, failure: type[S3CryptError]) -> S3CryptError:
    reply = error.response
    code = error_code(error)
    metadata = reply.get("ResponseMetadata", {})
    status = http_status(error)
    request_id = metadata.get("RequestId")
    said = str(reply.get("Error", {}).get("Message", ""))
    is_kms = code.startswith("KMS.") or failure is KeyUnavailableError
    kind, what, advice = _CODES.get(
        code.removeprefix("KMS."), _by_status(status, code, said, is_kms=is_kms)
    )
    if is_kms and kind is StorageError:
        kind = KeyUnavailableError
    if code.startswith("KMS."):
        # Through S3, `subject` is the object; what happened, happened to its KMS key.
        what = f"its KMS key: {what}"
    return kind(f"{subject}: {what}", **_advised(advice), code=code, request_id=request_id)


def _advised(advice: _Advice) -> dict[str, Any]:
    return {"remedy": advice} if isinstance(advice, Remedy) else {"hint": advice}


def _by_status(
    status: int, code: str, said: str, *, is_kms: bool
) -> tuple[type[S3CryptError], str, _Advice]:
    # Other services than AWS use other codes, and HEAD has no body to carry one.
    if status == 404 and not is_kms:
        return ObjectNotFoundError, "no such object", "Check the bucket's and the object's name."
    if status == 412:
        return _CODES["PreconditionFailed"]
    if status == 301:
        return _CODES["PermanentRedirect"]
    kind: type[S3CryptError] = KeyUnavailableError if is_kms or "kms:" in said else StorageError
    if status == 403 or "AccessDenied" in code:
        return kind, f"access denied ({said or code})", _DENIED_HINT
    return kind, f"{code}: {said}".strip(": "), None
