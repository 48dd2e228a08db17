# SPDX-License-Identifier: Apache-2.0
"""Turns the error of a failed request into a diagnosis."""

from botocore.exceptions import (
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
    SSLError,
)

from s3crypt.aws_errors import THROTTLES, is_of_clock
from s3crypt.errors import ConfigError, S3CryptError

from .values import Area, Diagnosis, Outcome

_DENIED = frozenset({"403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_EXPIRED = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
)
_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_REGION = frozenset(
    {
        "301",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
    }
)
_NETWORK = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError, SSLError)
SET_CLOCK = "sudo timedatectl set-ntp true"
SIGN_IN = "aws sso login"


def is_denied(error: S3CryptError) -> bool:
    """Return whether a service refused a request for lack of a permission."""
    return (error.code or "").removeprefix("KMS.") in _DENIED and not is_of_clock(error)


def is_throttled(error: S3CryptError) -> bool:
    """Return whether a service throttled a request."""
    code = (error.code or "").removeprefix("KMS.")
    return code in THROTTLES or code in ("429", "503")


def of_error(name: str, area: Area, error: S3CryptError) -> Diagnosis:
    """Return the diagnosis of a request that failed.

    Args:
        name: The name of the check.
        area: The area of the request. If the error shows that the fault is in another area, the
            diagnosis has that area.
        error: The error of the request.
    """
    found, outcome, following = _classified(area, error)
    return Diagnosis(name, outcome, found, _in_one_line(error), following)


def _classified(area: Area, error: S3CryptError) -> tuple[Area, Outcome, str]:
    code = (error.code or "").removeprefix("KMS.")
    hint = error.hint or ""
    kinds = (
        (is_of_clock(error), Area.CLOCK, SET_CLOCK),
        (code in _EXPIRED, Area.CREDENTIALS, SIGN_IN),
        (code in _CREDENTIALS, Area.CREDENTIALS, "aws configure"),
        (code in _REGION, Area.REGION, hint),
        (is_throttled(error), area, "Send fewer requests at once, and run it again later."),
        (isinstance(error.__cause__, _NETWORK), Area.NETWORK, hint),
        (isinstance(error, ConfigError), Area.CREDENTIALS, hint),
    )
    for applies, found, following in kinds:
        if applies:
            return found, Outcome.WRONG, following
    return Area.POLICY if is_denied(error) else area, Outcome.UNKNOWN, hint


def _in_one_line(error: S3CryptError) -> str:
    return " ".join(str(error).split()).removesuffix(".")
