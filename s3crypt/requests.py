# SPDX-License-Identifier: Apache-2.0
"""Requests to AWS, with one retry policy.

Every request of the library is made by `call`. If the body of the reply is read as a stream, its
attempts are counted by `Attempts`. This module decides which errors are retried, and for how long.
A reply that is incomplete according to `replies` is such an error. This module does not depend on
objects, modes or messages. A caller whose write must not be done twice passes a function `look`.
"""

import random
import traceback
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from botocore.client import BaseClient
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    InvalidRegionError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from .aws import RetryPolicy, policy_of
from .aws_errors import (
    REDIRECTED_NOWHERE,
    THROTTLES,
    error_code,
    http_status,
    is_unsendable,
    raise_settings,
    translate,
)
from .errors import ConfigError, ConflictError, S3CryptError, StorageError
from .local.rate import clock
from .local.workers import pause
from .logs import logger_of
from .operations import Operation
from .replies import is_whole

_log = logger_of(__name__)

Reply = Mapping[str, Any]

# Operations that are not repeated if their effect is unknown, because a repetition would have a
# second effect: another key, or another of the 25 rotations of a key.
_NOT_REPEATED: frozenset[Operation] = frozenset({"create_key", "rotate_key_on_demand"})
_READS = (
    "get_", "head_", "list_", "describe_", "decrypt", "generate_", "encrypt", "re_encrypt",
    "validate_", "lookup_",
)  # fmt: skip

_PASSING = frozenset(
    {
        "ConcurrentModification",
        "DependencyTimeoutException",
        "InternalError",
        "KeyUnavailableException",
        "KMSInternalException",
        "OperationAborted",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceFailure",
        "ServiceUnavailable",
    }
)
_PASSING_STATUSES = frozenset({429, 500, 502, 503, 504, 509})

# The number of looks before a request is given up.
_LAST_LOOKS = 3
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 8.0
_ATTEMPTS_AT_BROKEN_REPLIES = 5
# If a service has never replied, its name is probably wrong, so fewer attempts are made.
_ATTEMPTS_WITHOUT_ANSWER = 3


class BrokenReplyError(HTTPClientError):
    """The connection broke within a reply, or the reply is incomplete or malformed."""

    fmt = "the connection broke within the reply{detail}"

    def __init__(self, cause: BaseException | None = None) -> None:
        super().__init__(detail=f" ({type(cause).__name__})" if cause else "")


class Attempts:
    """The attempts of one request: counts them, pauses between them, and decides when to give up.

    Args:
        client: The client that sends every attempt. A client of the caller retries by itself, so
            only one attempt is made here.
        subject: The object or the key that the request is about.
        failure: The type of an error whose code has no type in `aws_errors`.
        least: The minimum number of attempts, even for a client of the caller, because botocore
            never repeats a request whose body could not be read.
        within: The attempts of another request of which this request is a part. Their deadline
            applies. None for a separate request.
        is_look: Whether this request is a look of the other request, which repeats its looks. If
            so, this request is made once per look.
        operation: The name of the operation, for the log.
    """

    def __init__(  # noqa: PLR0913 - keyword arguments
        self,
        client: BaseClient,
        subject: str,
        failure: type[S3CryptError] = StorageError,
        *,
        least: int = 1,
        within: "Attempts | None" = None,
        is_look: bool = False,
        operation: str = "get_object",
    ) -> None:
        policy = policy_of(client)
        self.policy = policy
        # The request to which a look belongs repeats the look.
        self._attempts = 1 if is_look else max(policy.attempts, least)
        self._is_look = is_look
        self._deadline = policy.deadline
        self.subject = subject
        self._operation = operation
        self.failure = failure
        self.made = 0
        self._began: float | None = within.first_failure if within else None
        self._failed_first: float | None = None

    @property
    def first_failure(self) -> float | None:
        """Return the time of the first failed attempt, by `clock`. Return None before that."""
        return self._began or self._failed_first

    def after(self, error: Exception, *, is_final: bool = False) -> None:
        """Count a failed attempt, and pause before the next attempt, or raise the error.

        Raises:
            S3CryptError: The error is final, or the attempts or the time are used up. The message
                contains the number of attempts.
        """
        self.made += 1
        now = clock()
        self._failed_first = self._failed_first or now
        if is_final or not is_transient(error):
            raise self.given_up(error) from error
        seconds = self._pause_seconds()
        spent = now - (self.first_failure or now)
        if self.made >= self._most(error) or spent + seconds > self._deadline:
            raise self.given_up(error) from error
        self._log_repetition(error, seconds)
        if not pause(seconds):
            raise self.given_up(error) from error

    def given_up(self, error: Exception) -> S3CryptError:
        """Return s3crypt's error for botocore's error.

        Its message has the number and duration of attempts.
        """
        translated = as_ours(error, self.subject, self.failure)
        if self.made > 1:
            seconds = clock() - (self._failed_first or clock())
            told = f"{translated} ({self.made} attempts in {seconds:.1f} s)"
            translated.args = (told, *translated.args[1:])
            self._log_end(error, seconds)
        return translated

    def _log_repetition(self, error: Exception, seconds: float) -> None:
        told = self._operation, self.subject, self.made, cause_of(error), seconds
        _log.debug("%s of %s: attempt %d failed (%s); the next one in %.2f s", *told)

    def _log_end(self, error: Exception, seconds: float) -> None:
        told = self._operation, self.subject, self.made, seconds, cause_of(error)
        _log.info("%s of %s: given up after %d attempts in %.1f s (%s)", *told)

    def _most(self, error: Exception) -> int:
        most = self._attempts
        if isinstance(error, BrokenReplyError) and not self._is_look:
            # botocore does not notice that a reply broke off, so a client of the caller does not
            # repeat the request by itself.
            most = most if self.policy.is_ours else max(most, _ATTEMPTS_AT_BROKEN_REPLIES)
        elif isinstance(error, ClientError) and _is_half(error):
            # Some services never send an error code, so such replies are retried only a few times.
            most = min(most, _ATTEMPTS_AT_BROKEN_REPLIES)
        if not self.policy.was_answered and _is_unanswered(error):
            most = min(most, _ATTEMPTS_WITHOUT_ANSWER)
        return most

    def _pause_seconds(self) -> float:
        longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** (self.made - 1))
        # The pause is between half and all of this length at random. Clients that failed at the
        # same time then retry at different times.
        return longest * random.uniform(0.5, 1)  # noqa: S311 - no secret


Look = Callable[[Attempts], Reply | None]


def call(  # noqa: PLR0913 - arguments for a request and its errors
    client: BaseClient,
    operation: Operation,
    arguments: Mapping[str, Any],
    subject: str,
    *,
    failure: type[S3CryptError] = StorageError,
    look: Look | None = None,
    repeats_first: bool = False,
    within: Attempts | None = None,
    is_look: bool = False,
) -> Reply:
    """Make a request, and repeat it until its reply is complete. Return the reply.

    Args:
        client: A boto3 client.
        operation: The name of the client's method.
        arguments: The request's arguments.
        subject: The object or the key that the request is about, for errors.
        failure: The type of an error whose code has no type in `aws_errors`.
        look: Returns a reply that proves that an earlier attempt had its effect, or None. It is
            called after an attempt whose effect is unknown, and when a later attempt is refused.
            None for requests that can be repeated safely.
        repeats_first: Whether the request can be repeated without harm. If so, `look` is called
            only after a repetition is refused.
        within: The attempts of another request of which this request is a part. Their deadline
            applies. None for a separate request.
        is_look: Whether this request is a look of the other request. If so, it is made once.

    Raises:
        S3CryptError: The service refused, or no attempt had a complete reply. The cause is
            botocore's error. If it is unknown whether a write had its effect, the message says so.
    """
    attempts = Attempts(
        client, subject, failure, within=within, is_look=is_look, operation=operation
    )
    is_unsure = False
    while True:
        try:
            if look and is_unsure and not repeats_first:
                found = _looked(look, attempts)
                if found is not None:
                    _log.info("%s of %s: an earlier attempt has done it", operation, subject)
                    return found
            return attempt(client, operation, arguments)
        except (ClientError, BotoCoreError) as error:
            is_unsure = is_unsure or _may_be_done(error)
            _warn_of_an_upload(operation, subject, error)
            try:
                attempts.after(error, is_final=is_unsure and operation in _NOT_REPEATED)
            except S3CryptError as final:
                # The client may have retried by itself, and may have been refused because an
                # earlier attempt had succeeded.
                may_be_there = is_unsure or _was_retried(error)
                found = _looked_at_last(look, attempts) if look and may_be_there else None
                if found is not None:
                    _log.info("%s of %s: an earlier attempt has done it", operation, subject)
                    return found
                raise _final(final, operation, may_be_there=may_be_there) from error


def attempt(client: BaseClient, operation: Operation, arguments: Mapping[str, Any]) -> Reply:
    """Make a request once. Return its reply, which is complete.

    Raises:
        ClientError: The service refused.
        BotoCoreError: The request failed, or its reply is incomplete (`BrokenReplyError`).
    """
    policy, request = policy_of(client), getattr(client, operation)
    try:
        with policy.asking():
            reply: Reply = request(**arguments)
    except ClientError as error:
        policy.was_answered = True
        if _is_the_object(operation, error.response):
            raise _not_implemented(operation, error.response) from error
        raise
    except S3CryptError:
        raise
    except (BotoCoreError, *_UNPARSED, HTTPError, OSError) as error:
        failure = _failure_of(error, operation, policy)
        if failure is error:
            raise
        raise failure from error
    policy.was_answered = True
    if _is_the_object(operation, reply):
        raise _not_implemented(operation, reply)
    if not is_whole(operation, reply):
        raise BrokenReplyError
    return reply


def _is_the_object(operation: Operation, reply: Reply) -> bool:
    """Return whether a service without object tags sent the object itself. rclone does this.

    Only such a reply has an ETag. botocore reports it as an error of the service, which would be
    retried for a minute.
    """
    headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return operation == "get_object_tagging" and "etag" in headers


def _failure_of(error: Exception, operation: Operation, policy: RetryPolicy) -> Exception:
    """Return botocore's error that describes why an attempt failed."""
    if _is_redirected_without_end(error):
        policy.was_answered = True
        return _redirected_nowhere(operation)
    if isinstance(error, InvalidRegionError):
        # The bucket's Region in the headers of a redirect is malformed or incomplete.
        return BrokenReplyError(error)
    if isinstance(error, BotoCoreError):
        return error
    if isinstance(error, OSError) and error.filename:
        # The error of a connection contains no file name, so this is the error of a file with
        # credentials.
        raise_settings(error)
    # botocore reads the body of a refusal here, even if the operation streams its body.
    policy.was_answered = True
    return BrokenReplyError(error)


def _is_redirected_without_end(error: Exception) -> bool:
    """Return whether botocore requested a bucket's Region again and again until the stack was full.

    After a redirect, botocore sends HeadBucket to get the bucket's Region. If this request is
    redirected too, and no reply names a Region, botocore's handler of redirects calls itself again.
    """
    frames = traceback.walk_tb(error.__traceback__)
    asking = (frame for frame, _ in frames if frame.f_code.co_name == "get_bucket_region")
    return len(tuple(asking)) > 1


def _redirected_nowhere(operation: Operation) -> ClientError:
    said = {"Code": REDIRECTED_NOWHERE, "Message": "a redirect that names no Region"}
    metadata = {"HTTPStatusCode": int(HTTPStatus.MOVED_PERMANENTLY)}
    return ClientError({"Error": said, "ResponseMetadata": metadata}, operation)  # type: ignore[typeddict-item]


def _not_implemented(operation: Operation, reply: Reply) -> ClientError:
    metadata = {**reply["ResponseMetadata"], "HTTPStatusCode": int(HTTPStatus.NOT_IMPLEMENTED)}
    said = {"Code": "NotImplemented", "Message": "the service sent the object instead"}
    return ClientError({"Error": said, "ResponseMetadata": metadata}, operation)  # type: ignore[typeddict-item]


# The errors that botocore's parsers raise for an incomplete or malformed number, date or document.
_UNPARSED = (
    ResponseParserError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
)


def pages(
    client: BaseClient,
    operation: Operation,
    arguments: Mapping[str, Any],
    subject: str,
    *,
    failure: type[S3CryptError] = StorageError,
) -> Iterator[Reply]:
    """Yield every page of a listing. Each page is complete.

    The listing ends at a page which states that it is the last page. If pages of this operation
    have no such field, the listing ends at a page that names no next page.

    Raises:
        S3CryptError: For the reasons that `call` documents. Or a page that is not the last page
            names no next page, or names itself as the next page.
    """
    more, tokens = _PAGING[operation]
    current: dict[str, Any] = {}
    while True:
        page = call(client, operation, {**arguments, **current}, subject, failure=failure)
        yield page
        following = {token: page[after] for after, token in tokens.items() if page.get(after)}
        if not (following if more is None else page.get(more)):
            return
        if following in ({}, current):
            raise failure(
                f"{subject}: the listing is incomplete.",
                hint=(
                    "The service repeats a page or does not name the next page. Objects after it "
                    "are unknown."
                ),
            )
        current = following


_CONTINUATION = {"NextContinuationToken": "ContinuationToken"}
_SAME_TOKEN = {"ContinuationToken": "ContinuationToken"}
_OWN_TOKEN = {"continuationToken": "continuationToken"}
_NEXT_TOKEN = {"nextToken": "nextToken"}
_MARKER = {"NextMarker": "Marker"}
_SAME_MARKER = {"Marker": "Marker"}
# For each operation: the field that says whether there are more pages, and the tokens of the next
# page (name in the reply -> name in the request). If the field is None, only the tokens show
# whether there are more pages.
_PAGING: Mapping[Operation, tuple[str | None, Mapping[str, str]]] = {
    "list_bucket_inventory_configurations": ("IsTruncated", _CONTINUATION),
    "list_buckets": (None, _SAME_TOKEN),
    "list_directory_buckets": (None, _SAME_TOKEN),
    "list_multipart_uploads": (
        "IsTruncated",
        {"NextKeyMarker": "KeyMarker", "NextUploadIdMarker": "UploadIdMarker"},
    ),
    "list_object_annotations": (None, _CONTINUATION),
    "list_object_versions": (
        "IsTruncated",
        {"NextKeyMarker": "KeyMarker", "NextVersionIdMarker": "VersionIdMarker"},
    ),
    "list_objects_v2": ("IsTruncated", _CONTINUATION),
    "get_account_authorization_details": ("IsTruncated", _SAME_MARKER),
    "list_aliases": ("Truncated", _MARKER),
    "list_attached_group_policies": ("IsTruncated", _SAME_MARKER),
    "list_attached_role_policies": ("IsTruncated", _SAME_MARKER),
    "list_grants": ("Truncated", _MARKER),
    "list_group_policies": ("IsTruncated", _SAME_MARKER),
    "list_key_rotations": ("Truncated", _MARKER),
    "list_keys": ("Truncated", _MARKER),
    "list_resource_tags": ("Truncated", _MARKER),
    "list_role_policies": ("IsTruncated", _SAME_MARKER),
    "list_indexes": (None, _NEXT_TOKEN),
    "list_table_buckets": (None, _OWN_TOKEN),
    "list_tables": (None, _OWN_TOKEN),
    "list_vector_buckets": (None, _NEXT_TOKEN),
}


def is_transient(error: Exception) -> bool:
    """Return whether a later attempt may succeed."""
    if isinstance(error, ClientError):
        # S3 puts a prefix before the codes of KMS.
        code = error_code(error).removeprefix("KMS.")
        if code == "ConditionalRequestConflict":
            # Two writers wrote at the same time. After a refused completion, an upload cannot be
            # completed again, so only a PutObject is repeated.
            return str(error.operation_name) == "PutObject"
        return (
            code in THROTTLES | _PASSING
            or http_status(error) in _PASSING_STATUSES
            or _is_half(error)
        )
    if is_unsendable(error):
        return False
    return isinstance(error, BROKEN)


# The errors of a broken connection. While a body is read, urllib3's own errors are raised.
BROKEN = (
    BotoConnectionError,
    HTTPClientError,
    HTTPError,
    IncompleteReadError,
    OSError,
    ReadTimeoutError,
    ResponseStreamingError,
)


def _is_half(error: ClientError) -> bool:
    """Return whether a refusal broke off before its error code was received.

    In this case botocore uses the HTTP status as the error code. But the reply to a HEAD never has
    an error code, and a GET with the status 404 does not need an error code.
    """
    status, operation = http_status(error), str(error.operation_name)
    return (
        error_code(error) == str(status)
        and status in _STATUSES_OF_CODES
        and not operation.startswith("Head")
        and (status, operation) != (HTTPStatus.NOT_FOUND, "GetObject")
    )


_STATUSES_OF_CODES = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
)


def as_ours(error: Exception, subject: str, failure: type[S3CryptError]) -> S3CryptError:
    """Return the library's error for any error of a request."""
    if isinstance(error, S3CryptError):
        return error
    if isinstance(error, ClientError | BotoCoreError):
        return translate(error, subject, failure)
    return failure(f"{subject}: {error}")


def cause_of(error: BaseException) -> str:
    """Return the error codes and types of an error, for a log.

    The text of the error is left out, because it may quote contents of the request.
    """
    if isinstance(error, S3CryptError) and error.__cause__ is not None:
        return cause_of(error.__cause__)
    if not isinstance(error, ClientError):
        return type(error).__name__
    request_id = error.response.get("ResponseMetadata", {}).get("RequestId")
    told = f"{error_code(error)}, status {http_status(error)}"
    return f"{told}, request {request_id}" if request_id else told


def _warn_of_an_upload(operation: str, subject: str, error: Exception) -> None:
    """Warn if an upload with an unknown id may have been begun.

    If the request is repeated, it begins another upload.
    """
    if operation == "create_multipart_upload" and _may_be_done(error):
        told = subject, cause_of(error)
        _log.warning("%s: an upload may have been begun and be left behind (%s)", *told)


def _final(final: S3CryptError, operation: Operation, *, may_be_there: bool) -> S3CryptError:
    """Return the error for a request that is given up.

    If it is unknown whether a write had its effect, the message says so.
    """
    if not may_be_there or isinstance(final, ConfigError):
        return final
    if isinstance(final, ConflictError):
        final.hint = _RETRIED_HINT
    elif not operation.startswith(_READS):
        final.args = (f"{final} {_UNSURE}", *final.args[1:])
        final.hint = "Check whether it was done before you run the command again."
    return final


_UNSURE = "It is not known whether it was done."


def is_unsure(error: BaseException) -> bool:
    """Return whether an error of `call` says that a write may have had its effect.

    A refusal says this, too, if the reply to an earlier attempt was lost.
    """
    return isinstance(error, S3CryptError) and _UNSURE in str(error)


# The reply to the first attempt was lost, so the second attempt may conflict with the effect of the
# first attempt.
_RETRIED_HINT = "The request was sent twice, so the existing object may be your own: check it."


def _looked(look: Look, attempts: Attempts) -> Reply | None:
    """Return the reply that a look found. Return None if it found nothing or was refused.

    Raises:
        ConflictError: Another object exists, and the service would overwrite it.
        ClientError, BotoCoreError: The look failed, but may succeed later. The effect is still
            unknown.
    """
    try:
        return look(attempts)
    except ConflictError as error:
        error.hint = _RETRIED_HINT
        raise
    except ConfigError:
        raise
    except S3CryptError as error:
        cause = error.__cause__
        if isinstance(cause, ClientError | BotoCoreError) and is_transient(cause):
            raise cause from error
        return None
    except BROKEN as error:
        raise BrokenReplyError from error


def _looked_at_last(look: Look, attempts: Attempts) -> Reply | None:
    """Look before a request is given up.

    If the look fails or finds nothing, look again.
    """
    for number in range(_LAST_LOOKS):
        if number and not pause(_FIRST_PAUSE_SECONDS * 2**number):
            break
        try:
            found = _looked(look, attempts)
        except (ClientError, BotoCoreError):
            continue
        if found is not None:
            return found
    return None


def _may_be_done(error: Exception) -> bool:
    """Return whether a failed attempt may have had its effect."""
    if isinstance(error, ClientError):
        status = http_status(error)
        was_refused = error_code(error) in THROTTLES or status == HTTPStatus.NOT_IMPLEMENTED
        return status >= 500 and not was_refused
    return is_transient(error) and not isinstance(
        error, EndpointConnectionError | ConnectTimeoutError
    )


def _is_unanswered(error: Exception) -> bool:
    return not isinstance(error, ClientError | BrokenReplyError)


def _was_retried(error: Exception) -> bool:
    reply = error.response if isinstance(error, ClientError) else {}
    return bool(reply.get("ResponseMetadata", {}).get("RetryAttempts"))
