# SPDX-License-Identifier: Apache-2.0
"""Translate errors of AWS and botocore into errors of s3crypt, with error code and request id."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from json import JSONDecodeError
from typing import Any, NoReturn, TypeAlias

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    CredentialRetrievalError,
    EndpointConnectionError,
    EndpointProviderError,
    EndpointVariantError,
    HTTPClientError,
    InvalidChecksumConfigError,
    InvalidConfigError,
    InvalidDefaultsMode,
    InvalidEndpointConfigurationError,
    InvalidEndpointDiscoveryConfigurationError,
    InvalidIMDSEndpointError,
    InvalidIMDSEndpointModeError,
    InvalidProxiesConfigError,
    InvalidRegionError,
    InvalidRetryConfigurationError,
    InvalidRetryModeError,
    InvalidS3AddressingStyleError,
    InvalidS3UsEast1RegionalEndpointConfigError,
    InvalidSTSRegionalEndpointsConfigError,
    LoginError,
    MetadataRetrievalError,
    MissingDependencyException,
    NoAuthTokenError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    RefreshWithMFAUnsupportedError,
    SSLError,
    SSOError,
    TokenRetrievalError,
    UnknownCredentialError,
    UnknownSignatureVersionError,
    UnknownTokenProviderError,
    UnsupportedS3AccesspointConfigurationError,
    UnsupportedS3ConfigurationError,
    UnsupportedSignatureVersionError,
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
    """Convert every botocore error that is raised in the block to an error of s3crypt.

    Args:
        subject: The object or the key that the request is about. The message begins with it.
        failure: The type of an error whose code has no type in the table of this module. It is
            KeyUnavailableError for requests to KMS.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise translate(error, subject, failure) from error


def translate(
    error: ClientError | BotoCoreError, subject: str, failure: type[S3CryptError] = StorageError
) -> S3CryptError:
    """Return the error of s3crypt for botocore's error. The caller must raise it."""
    if isinstance(error, ClientError):
        return _from_reply(error, subject, failure)
    if is_unsendable(error):
        # The message of Python's error contains the value of the header, which may be a session
        # token. It is not repeated.
        return ConfigError(
            f"{subject}: a header of the request cannot be sent.",
            hint="Check credentials and metadata for line breaks.",
        )
    if isinstance(error, BotoConnectionError | HTTPClientError):
        hint = _TLS_HINT if isinstance(error, SSLError) else _NETWORK_HINT
        return failure(f"Could not reach the service for {subject}: {error}", hint=hint)
    for kinds, message, advice in _LOCAL:
        if isinstance(error, kinds):
            told = message.format(subject=subject, error=_in_one_line(_shortened(error)))
            return ConfigError(told, **_advised(advice))
    if isinstance(error, _OF_SETTINGS) or failure is ConfigError:
        return _settings_error(error)
    return failure(f"{subject}: {error}")


def _shortened(error: BotoCoreError) -> str:
    """Return an error's text without botocore's regular expressions for the names of buckets."""
    found = _BAD_BUCKET.search(str(error))
    names = "3 to 63 lower-case letters, digits, hyphens and dots"
    return f"{found[1]!r} is not a valid bucket name: {names}." if found else str(error)


def raise_settings(error: OSError | ValueError) -> NoReturn:
    """Raise a ConfigError for a Python error that unusable AWS settings caused inside botocore.

    Python's error does not become the cause, because it may contain a document with a key.
    """
    found = _settings_error(error)
    raise found from InvalidConfigError(error_msg=str(found))


def _settings_error(error: Exception) -> ConfigError:
    """Return the error for unusable AWS settings. Its one line names a file or a setting.

    Args:
        error: The error that botocore raised: one of its own types, an OSError for a file that the
            settings name, or a plain ValueError.
    """
    text = _explained_setting(error)
    named = _quoted_variables(text)
    if isinstance(error, ProfileNotFound):
        hints = [f"Check {name}." for name in named] + ["See `aws configure list-profiles`."]
        return ConfigError(text, hint=" ".join(hints))
    file = os.environ.get("AWS_CONFIG_FILE", "~/.aws/config")
    where = " and ".join(named) or f"AWS_* in the environment, and {file}"
    return ConfigError(f"AWS settings: {text.removesuffix('.')}.", hint=f"Check {where}.")


def _explained_setting(error: Exception) -> str:
    if isinstance(error, BotoCoreError):
        return _explained_by_botocore(error)
    if isinstance(error, JSONDecodeError):
        # Only the credential_process produces JSON. Its output may contain a key, so it is not
        # quoted.
        return "the credential_process did not print JSON"
    if isinstance(error, OSError) and error.filename:
        return f"the file {error.filename} that the settings name cannot be used: {error.strerror}"
    return _in_one_line(str(error))


def _explained_by_botocore(error: BotoCoreError) -> str:
    kwargs: Mapping[str, Any] = error.kwargs
    if isinstance(error, ProfileNotFound):
        return f"There is no AWS profile named {kwargs['profile']}."
    if isinstance(error, ConfigParseError):
        # The line itself is not quoted, because it may contain a key.
        line = _line_of(kwargs.get("error"))
        return f"{kwargs['path']} cannot be read{f', line {line}' if line else ''}"
    if isinstance(error, InvalidRetryModeError):
        modes, given = ", ".join(kwargs["valid_modes"]), kwargs["provided_retry_mode"]
        return f"the retry mode (AWS_RETRY_MODE, retry_mode) is one of {modes}, not {given}"
    if isinstance(error, CredentialRetrievalError) and kwargs["provider"] == _OF_PROCESS:
        said = _in_one_line(kwargs["error_msg"])
        return f"the credential_process failed: {said or 'it printed no message'}"
    return _in_one_line(str(error))


_OF_PROCESS = "custom-process"  # botocore's name of a credential_process


def _line_of(error: object) -> int | None:
    """Return the number of the line that Python's configuration parser refused, or None."""
    refused = getattr(error, "errors", None) or [(None,)]
    line = getattr(error, "lineno", None) or refused[0][0]
    return line if isinstance(line, int) else None


def _quoted_variables(text: str) -> list[str]:
    """Return the names of the AWS variables whose complete values are quoted in a message."""
    return [
        name
        for name, value in sorted(os.environ.items())
        if name.startswith("AWS_")
        # Messages never quote credentials. But in a sandbox, credentials may have the same text as
        # another setting, so they are left out.
        and not name.endswith(("_ACCESS_KEY", "_ACCESS_KEY_ID", "_TOKEN"))
        and len(value) > 1
        and re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])", text)
    ]


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


REDIRECTED_NOWHERE = "RedirectWithoutRegion"
"""s3crypt's code for a service that redirects every request and names no Region."""
# Error codes about the bucket, the account or the credentials. They would occur for every object.
_FOR_ALL = frozenset(
    {
        "AccountProblem",
        "AllAccessDisabled",
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "ExpiredTokenException",
        "IllegalLocationConstraintException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "NoSuchAccessPoint",
        "NoSuchBucket",
        "NoSuchMultiRegionAccessPoint",
        "PermanentRedirect",
        "QuotaExceeded",
        REDIRECTED_NOWHERE,
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)


def is_for_all(error: S3CryptError) -> bool:
    """Return whether the error would also occur for every other object of the bucket."""
    cause = error.__cause__
    if isinstance(cause, BotoCoreError):
        # An error before the request, and a request without a reply, would occur for all objects. A
        # reply that breaks off affects only one object.
        is_of_item = isinstance(cause, ParamValidationError) or is_unsendable(cause)
        never_sent = isinstance(error, ConfigError) and not is_of_item
        return never_sent or isinstance(cause, EndpointConnectionError)
    return (error.code or "").removeprefix("KMS.") in _FOR_ALL


# Error codes that concern all objects of one bucket, but not other buckets. They do not end an
# audit.
_OF_ONE_BUCKET = frozenset(
    {
        "AllAccessDisabled",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "NoSuchBucket",
        "PermanentRedirect",
    }
)


def ends_everything(error: S3CryptError) -> bool:
    """Return whether the error would also occur for every other request, in any bucket."""
    return is_for_all(error) and error.code not in _OF_ONE_BUCKET


# Error codes of throttled requests. S3 puts a prefix before the codes of KMS.
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
    """Return whether the service refused the request because there were too many requests."""
    code = error_code(error).removeprefix("KMS.")
    # The reply to a HEAD has no body with an error code. A status of 503 means "Slow Down" in S3.
    return code in THROTTLES or code == "503" or http_status(error) == HTTPStatus.TOO_MANY_REQUESTS


def is_unsendable(error: BaseException) -> bool:
    """Return whether a request could not be sent because of invalid characters in a header."""
    if not isinstance(error, HTTPClientError):
        return False
    return isinstance(error.kwargs.get("error"), ValueError)


_Advice: TypeAlias = str | Remedy | None
_SIGN_IN = Remedy("sign_in")
# Errors that occur on this machine, without a reply of a service.
_LOCAL: tuple[tuple[tuple[type[BotoCoreError], ...], str, _Advice], ...] = (
    ((NoCredentialsError, PartialCredentialsError), "No AWS credentials.", _SIGN_IN),
    (
        (
            LoginError,
            NoAuthTokenError,
            RefreshWithMFAUnsupportedError,
            SSOError,
            TokenRetrievalError,
        ),
        "AWS sign-in failed: {error}",
        _SIGN_IN,
    ),
    ((NoRegionError,), "{error}", "Set AWS_DEFAULT_REGION or AWS_PROFILE."),
    ((ParamValidationError,), "{subject}: {error}", None),
)
_BAD_BUCKET = re.compile(r'Invalid bucket name "(.*?)": Bucket name must match', re.DOTALL)
# Errors that are caused by the configuration, the environment or the source of the credentials.
_OF_SETTINGS = (
    ConfigNotFound,
    ConfigParseError,
    CredentialRetrievalError,
    EndpointProviderError,
    EndpointVariantError,
    InvalidChecksumConfigError,
    InvalidConfigError,
    InvalidDefaultsMode,
    InvalidEndpointConfigurationError,
    InvalidEndpointDiscoveryConfigurationError,
    InvalidIMDSEndpointError,
    InvalidIMDSEndpointModeError,
    InvalidProxiesConfigError,
    InvalidRegionError,
    InvalidRetryConfigurationError,
    InvalidS3AddressingStyleError,
    InvalidS3UsEast1RegionalEndpointConfigError,
    InvalidSTSRegionalEndpointsConfigError,
    MetadataRetrievalError,
    MissingDependencyException,
    ProfileNotFound,
    UnknownCredentialError,
    UnknownSignatureVersionError,
    UnknownTokenProviderError,
    UnsupportedS3AccesspointConfigurationError,
    UnsupportedS3ConfigurationError,
    UnsupportedSignatureVersionError,
)
_TLS_HINT = "Check the endpoint URL, its certificate, and AWS_CA_BUNDLE if it is set."
_NETWORK_HINT = "Check the network, the Region and the endpoint URL."
_SET_REGION = Remedy("set_region")
_ARN_HINT = "Check its name, Region and account."
_ARCHIVED_HINT = (
    "Restore the object with `aws s3api restore-object`, and wait until it is restored."
)
_QUOTA_HINT = "Delete unneeded data, or ask for a higher quota."
_CREDENTIALS_HINT = "Check the credentials."
_DENIED_HINT = "Ask for the permission named in the service's message."
# Error code -> (type, description, advice). S3 puts "KMS." before the codes of KMS.
_CODES: dict[str, tuple[type[S3CryptError], str, _Advice]] = {
    "NoSuchKey": (ObjectNotFoundError, "no such object", Remedy("list_objects")),
    "NoSuchVersion": (ObjectNotFoundError, "no such version", "Check the version id."),
    "NoSuchUpload": (
        StorageError,
        (
            "the upload no longer exists: another caller aborted it, or an earlier attempt "
            "completed it"
        ),
        "Check the object before you run the command again.",
    ),
    "NoSuchBucket": (StorageError, "no such bucket", "Check the name, or create the bucket."),
    "NoSuchAccessPoint": (StorageError, "no such access point", _ARN_HINT),
    "NoSuchMultiRegionAccessPoint": (StorageError, "no such access point", _ARN_HINT),
    "PreconditionFailed": (
        ConflictError,
        "the object exists, or another writer changed it",
        "The other writer's object was kept. Check it before you write again.",
    ),
    "ConditionalRequestConflict": (
        ConflictError,
        "another writer wrote the object at the same time",
        "Run the command again.",
    ),
    "InvalidObjectState": (StorageError, "the object is archived", _ARCHIVED_HINT),
    "ObjectNotInActiveTierError": (StorageError, "the object is archived", _ARCHIVED_HINT),
    # An error code of Ceph, then error codes of MinIO.
    "QuotaExceeded": (StorageError, "the bucket's or the user's quota is used up", _QUOTA_HINT),
    "XMinioAdminBucketQuotaExceeded": (StorageError, "the bucket's quota is used up", _QUOTA_HINT),
    "XMinioStorageFull": (StorageError, "the server's disks are full", "Free space on the server."),
    "PermanentRedirect": (StorageError, "the bucket is in another Region", _SET_REGION),
    REDIRECTED_NOWHERE: (
        StorageError,
        "the service answers each request with a redirect that names no Region",
        (
            "Check the endpoint URL: a server may redirect from http:// to https://, or to another "
            "address."
        ),
    ),
    "AuthorizationHeaderMalformed": (StorageError, "wrong region", _SET_REGION),
    "IllegalLocationConstraintException": (StorageError, "wrong region", _SET_REGION),
    "InvalidAccessKeyId": (StorageError, "the access key is unknown", _CREDENTIALS_HINT),
    "InvalidClientTokenId": (StorageError, "the access key is unknown", _CREDENTIALS_HINT),
    "UnrecognizedClientException": (StorageError, "the access key is unknown", _CREDENTIALS_HINT),
    "SignatureDoesNotMatch": (StorageError, "the secret key is wrong", _CREDENTIALS_HINT),
    "InvalidSignatureException": (StorageError, "the secret key is wrong", _CREDENTIALS_HINT),
    "InvalidToken": (StorageError, "the session token is wrong", _CREDENTIALS_HINT),
    "ExpiredToken": (StorageError, "the credentials have expired", "Sign in again."),
    "ExpiredTokenException": (StorageError, "the credentials have expired", "Sign in again."),
    "DisabledException": (
        KeyUnavailableError,
        "the key is disabled",
        "Enable it: `s3crypt keys enable {key}`.",
    ),
    "KMSInvalidStateException": (
        KeyUnavailableError,
        "the key's state forbids it (disabled, pending deletion or import)",
        "`s3crypt keys show {key}` shows the state and how to end it.",
    ),
    "NotFoundException": (
        KeyUnavailableError,
        "no such key",
        "Check the key's ARN or alias, its Region and account: `s3crypt keys list`.",
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
        (
            "KMS could not unwrap the data key: the key or the context is wrong, or the data key "
            "was changed"
        ),
        None,
    ),
    "IncorrectKeyException": (
        IntegrityError,
        "the data key is wrapped by a KMS key other than the given one",
        Remedy("inspect_object"),
    ),
}


# A part of KMS's message about the state of a key -> the advice. It is more precise than the advice
# for the error code.
_KEY_STATES = (
    ("pending deletion", "Cancel its deletion: `s3crypt keys cancel-deletion {key}`."),
    ("pending import", "Import its key material: `s3crypt keys import-material {key} FILE`."),
)
_KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+")
_KEY_NAME = re.compile(r"(?:KMS key )?((?:alias/)?[A-Za-z0-9:/_-]+)")


def _advice_about_key(advice: str, subject: str, said: str) -> str:
    """Return the advice with the name of the key. If the key is unknown, the name is KEY.

    Args:
        advice: The advice. It contains `{key}` in place of the key.
        subject: The key or the object that the request was about.
        said: KMS's message, which S3 may have passed on.
    """
    for words, more_precise in _KEY_STATES:
        if words in said.lower() and "keys show" in advice:
            advice = more_precise
    named = set(_KEY_ARN.findall(said)) or set(_KEY_ARN.findall(subject))
    whole = _KEY_NAME.fullmatch(subject)
    if len(named) != 1 and whole and not subject.startswith("s3:"):
        named = {whole[1]}
    return advice.replace("{key}", named.pop() if len(named) == 1 else "KEY")


def error_code(error: BaseException) -> str:
    """Return the service's error code of a botocore ClientError. Return "" for another error."""
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def http_status(error: BaseException | None) -> int:
    """Return the HTTP status of a refusal, given as botocore's or s3crypt's error.

    Otherwise return 0.
    """
    if isinstance(error, S3CryptError):
        error = error.__cause__
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def reply_headers(error: BaseException | None) -> Mapping[str, str]:
    """Return the headers of a refusal, given as botocore's or s3crypt's error.

    The names are in lower case. Return {} for another error.
    """
    if isinstance(error, S3CryptError):
        error = error.__cause__
    if not isinstance(error, ClientError):
        return {}
    headers: Mapping[str, str] = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def is_of_clock(error: BaseException | None) -> bool:
    """Return whether a request was refused because this machine's clock is wrong.

    The error may be botocore's or s3crypt's.
    """
    if isinstance(error, S3CryptError):
        error = error.__cause__
    if not isinstance(error, ClientError):
        return False
    return _is_refused_for_clock(error, str(error.response.get("Error", {}).get("Message", "")))


def _from_reply(error: ClientError, subject: str, failure: type[S3CryptError]) -> S3CryptError:
    reply = error.response
    code = error_code(error)
    metadata = reply.get("ResponseMetadata", {})
    status = http_status(error)
    request_id = metadata.get("RequestId")
    told: Mapping[str, Any] = reply.get("Error", {})
    said = str(told.get("Message", ""))
    is_kms = code.startswith("KMS.") or failure is KeyUnavailableError
    kind, what, advice = _CODES.get(
        code.removeprefix("KMS."), _by_status(status, code, said, is_kms=is_kms)
    )
    if _is_refused_for_clock(error, said):
        kind, what, advice = _CLOCK
    elif code == "InvalidObjectState" and told.get("StorageClass"):
        what = f"{what} ({told['StorageClass']})"
    if isinstance(advice, str) and "{key}" in advice:
        advice = _advice_about_key(advice, subject, said)
    if is_kms and kind is StorageError:
        kind = KeyUnavailableError
    if code.startswith("KMS."):
        # S3 passed on an error of KMS. `subject` is the object, but the error is about the object's
        # KMS key.
        what = f"its KMS key: {what}"
    return kind(f"{subject}: {what}", **_advised(advice), code=code, request_id=request_id)


_CLOCK: tuple[type[S3CryptError], str, _Advice] = (
    StorageError,
    "this machine's clock is wrong, so the service refuses its signatures",
    "Set the clock: `timedatectl` shows whether it is synchronised.",
)
# AWS accepts a signature if its time differs by less than five or fifteen minutes, depending on the
# service.
_MOST_SKEW_SECONDS = 15 * 60


def _is_refused_for_clock(error: ClientError, said: str) -> bool:
    """Return whether a request was refused because this machine's clock is too far off."""
    code = error_code(error)
    if code in ("RequestTimeTooSkewed", "RequestExpired"):
        return True
    if "Signature expired" in said or "Signature not yet current" in said:
        return True
    # The reply to a HEAD has no error code, but it contains the service's time.
    skew = seconds_behind(reply_headers(error).get("date"))
    return code == "403" and abs(skew) > _MOST_SKEW_SECONDS


def seconds_behind(date: str | None) -> float:
    """Return by how many seconds this machine's clock is behind the date in a reply.

    Return 0 if the reply has no date.
    """
    try:
        said = parsedate_to_datetime(date or "")
    except ValueError:
        return 0.0
    return (said.astimezone(UTC) - datetime.now(UTC)).total_seconds()


def _advised(advice: _Advice) -> dict[str, Any]:
    return {"remedy": advice} if isinstance(advice, Remedy) else {"hint": advice}


def _by_status(
    status: int, code: str, said: str, *, is_kms: bool
) -> tuple[type[S3CryptError], str, _Advice]:
    # Services other than AWS use other error codes, and the reply to a HEAD has no body with an
    # error code. In these cases the HTTP status decides.
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
