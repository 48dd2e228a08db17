# SPDX-License-Identifier: Apache-2.0
"""A logging filter that hides keys and tokens in log records of boto3 and its dependencies.

At the level DEBUG, these packages log complete requests and replies. They contain SSE-C customer
keys, plaintext data keys from KMS, and session tokens. The filter changes the text of such records,
but not levels or handlers. It affects every client in the process. Code about clients, objects or
keyrings does not belong here.
"""

import logging
import pkgutil
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

REDACTED = "[redacted]"
# boto3 and s3transfer log the arguments of a call, and urllib3 logs the query of a presigned URL.
_PACKAGES = ("botocore", "boto3", "s3transfer", "urllib3")
# The members that botocore's models mark as sensitive, and the headers and settings with the same
# values.
SECRETS = (
    "x-amz-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "SSECustomerKey",
    "CopySourceSSECustomerKey",
    # Members of KMS's requests and replies.
    "Plaintext",
    "PrivateKeyPlaintext",
    "SharedSecret",
    "KeyStorePassword",
    "GrantToken",
    "ImportToken",
    "EncryptedKeyMaterial",
    # Credentials of STS, S3 Express, IAM Identity Center and instance metadata.
    "SecretAccessKey",
    "RawSecretAccessKey",
    "aws_secret_access_key",
    "SessionToken",
    "aws_session_token",
    "x-amz-security-token",
    "x-amz-s3session-token",
    "x-amz-sso_bearer_token",
    "x-aws-ec2-metadata-token",
    "Token",
    "SAMLAssertion",
    "WebIdentityToken",
    "TradeInToken",
    "accessToken",
    "refreshToken",
    "idToken",
    "subjectToken",
    "clientSecret",
    "assertion",
    "codeVerifier",
    # S3's error SignatureDoesNotMatch contains the signed headers in hex.
    "CanonicalRequestBytes",
)
# S3's error InvalidArgument has the name of a header in one element, and its value in the next
# element.
_SECRET = re.compile(
    rf"""
    (?<![A-Za-z0-9]) (?<!</) (?P<name> {"|".join(map(re.escape, SECRETS))} )
    (?:
        (?P<xml> (?: </ArgumentName> (?: \s | \\n )* <ArgumentValue )? > ) [^<]*
    |
        (?P<between>
            (?: \\*["'] \s* , \s* b? \\*["'] ArgumentValue )?
            (?: \\*["'] \s* [:,] | \s* [:=] ) \s*
            (?: [\[(] \s* | bytearray\( )* (?: b(?=\\*["']) )?
        )
        (?:
            # A literal of Python or JSON, also one inside another; the reply may end within it.
            (?P<quote> \\*["'] ) (?: \\. | [^\\] )*? (?: (?P=quote) | \Z )
        |
            [^\s"'&;,<>()\[\]{{}}\\]+
        )
    )
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


# Python's error for a header with a line break contains the value without the header's name.
_UNSENDABLE = re.compile(r"(Invalid header value ).*", re.DOTALL)


def redacted(text: str) -> str:
    """Return the text of a log record. Every secret value is replaced by `[redacted]`."""
    return _SECRET.sub(_without_value, _UNSENDABLE.sub(rf"\1{REDACTED}", text))


def _without_value(match: re.Match[str]) -> str:
    quote = match["quote"] or ""
    between = match["xml"] or match["between"]
    return f"{match['name']}{between}{quote}{REDACTED}{quote}"


class RedactingFilter(logging.Filter):
    """Passes every record on, with secrets removed from its text. It never raises an error."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Remove secrets from the record's message and traceback. Other records are not changed."""
        try:
            _redact(record)
        except Exception:  # noqa: BLE001 - arguments are of any type, and logging must not raise
            # The handler would fail in the same way, and logging would then print the arguments,
            # which may contain secrets.
            record.msg, record.args = f"{REDACTED}: this record has no readable message.", ()
            record.exc_info = record.exc_text = None
        return True


def _redact(record: logging.LogRecord) -> None:
    message = record.getMessage()
    safe = redacted(message)
    if safe != message:
        # The arguments are removed too, because some handlers send them separately from the
        # message.
        record.msg, record.args = safe, ()
    traceback = record.exc_text
    if record.exc_info and not traceback:
        traceback = _FORMATTER.formatException(record.exc_info)
    if traceback and (safe := redacted(traceback)) != traceback:
        record.exc_info, record.exc_text = None, safe


_FORMATTER = logging.Formatter()
_FILTER = RedactingFilter()


def install() -> None:
    """Add the filter to every logger of boto3 and its dependencies. This is done once per process.

    A filter affects only the logger to which it was added, and not the children of this logger.
    Therefore it is added for every module of the packages, even if the module is not loaded yet: a
    logger has the name of its module.
    """
    first = logging.getLogger(_PACKAGES[0])
    if _FILTER in first.filters:
        return
    for name in {*_module_names(), *_logger_names()} - {first.name}:
        logging.getLogger(name).addFilter(_FILTER)
    # This logger is the last, because the check above takes its filter as proof that all filters
    # are installed.
    first.addFilter(_FILTER)


def _module_names() -> Iterator[str]:
    for package in _PACKAGES:
        spec = find_spec(package)
        if spec and spec.submodule_search_locations:
            yield from _modules_of(package, list(spec.submodule_search_locations))


def _modules_of(package: str, folders: Sequence[str]) -> Iterator[str]:
    yield package
    for module in pkgutil.iter_modules(folders):
        name = f"{package}.{module.name}"
        if module.ispkg:
            yield from _modules_of(name, [f"{folder}/{module.name}" for folder in folders])
        else:
            yield name


def _logger_names() -> Iterator[str]:
    # The existing loggers of these packages include loggers that are not named after a module.
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in _PACKAGES:
            yield name
