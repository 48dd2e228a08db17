# SPDX-License-Identifier: Apache-2.0
"""A logging filter that hides keys and tokens in the records of boto3 and the packages below it.

At DEBUG these packages log complete requests and replies, with customer keys of SSE-C, KMS's
plaintext data keys and session tokens. The filter changes the text of such records, but neither
levels nor handlers. It acts on every client of the process. Nothing about clients, objects or
keyrings belongs here.
"""

import logging
import pkgutil
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

REDACTED = "[redacted]"
# boto3 and s3transfer log the arguments of a call, urllib3 the query of a presigned URL.
_PACKAGES = ("botocore", "boto3", "s3transfer", "urllib3")
# Members that botocore's models mark as sensitive, and the headers and settings that contain them.
SECRETS = (
    "x-amz-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "SSECustomerKey",
    "CopySourceSSECustomerKey",
    # KMS.
    "Plaintext",
    "PrivateKeyPlaintext",
    "SharedSecret",
    "KeyStorePassword",
    "GrantToken",
    "ImportToken",
    "EncryptedKeyMaterial",
    # Credentials: STS, S3 Express, IAM Identity Center, instance metadata.
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
    # S3's SignatureDoesNotMatch returns the signed headers in hex.
    "CanonicalRequestBytes",
)
# S3's InvalidArgument names a header in one element and has its value in the next element.
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


# Python's error for a header with a line break has the value without the header's name.
_UNSENDABLE = re.compile(r"(Invalid header value ).*", re.DOTALL)


def redacted(text: str) -> str:
    """Return the text of a log record with every secret's value replaced by `[redacted]`."""
    return _SECRET.sub(_without_value, _UNSENDABLE.sub(rf"\1{REDACTED}", text))


def _without_value(match: re.Match[str]) -> str:
    quote = match["quote"] or ""
    between = match["xml"] or match["between"]
    return f"{match['name']}{between}{quote}{REDACTED}{quote}"


class RedactingFilter(logging.Filter):
    """Passes every record, with its text redacted. It never raises."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record's message and traceback; a record without secrets is not changed."""
        try:
            _redact(record)
        except Exception:  # noqa: BLE001 - arguments are of any type, and logging must not raise
            # The handler would fail in the same way, and logging would then print the arguments.
            record.msg, record.args = f"{REDACTED}: this record has no readable message.", ()
            record.exc_info = record.exc_text = None
        return True


def _redact(record: logging.LogRecord) -> None:
    message = record.getMessage()
    safe = redacted(message)
    if safe != message:
        # Remove the arguments too: some handlers send them separately from the message.
        record.msg, record.args = safe, ()
    traceback = record.exc_text
    if record.exc_info and not traceback:
        traceback = _FORMATTER.formatException(record.exc_info)
    if traceback and (safe := redacted(traceback)) != traceback:
        record.exc_info, record.exc_text = None, safe


_FORMATTER = logging.Formatter()
_FILTER = RedactingFilter()


def install() -> None:
    """Add the filter to every logger of boto3 and the packages below it, once per process.

    A filter acts only on the logger that it was added to, not on that logger's children. Hence the
    filter is added for every module of the packages, loaded or not: a logger has its module's name.
    """
    first = logging.getLogger(_PACKAGES[0])
    if _FILTER in first.filters:
        return
    for name in {*_module_names(), *_logger_names()} - {first.name}:
        logging.getLogger(name).addFilter(_FILTER)
    # This logger is last, since the check above takes its filter as proof that all are installed.
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
    # These packages' existing loggers, including those not named after a module.
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in _PACKAGES:
            yield name
