# SPDX-License-Identifier: Apache-2.0
"""Requests about KMS keys, each to the key's own Region, and explanations of KMS's errors.

This module decides nothing: its callers choose the requests.
"""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from s3crypt.errors import KeyUnavailableError, S3CryptError
from s3crypt.operations import KMSOperation
from s3crypt.requests import Look, call, pages

if TYPE_CHECKING:
    from types_boto3_kms.client import KMSClient

    from s3crypt.aws import Clients

T = TypeVar("T")

MAX_ON_DEMAND_ROTATIONS = 25
"""The maximum number of on-demand rotations in a key's life."""
MAX_KEYS = 1000
"""The maximum number of keys in one reply to ListKeys."""

NEW_KEY_HINT = "Create another key and rotate the objects to it."


class KMS:
    """Sends requests about keys, which are given by name, to KMS.

    Args:
        clients: Makes a client for each Region.
    """

    def __init__(self, clients: "Clients[KMSClient]") -> None:
        self._clients = clients

    def client(self, key: str) -> "KMSClient":
        """Return the client of the Region in an ARN, or of the session's Region for other names."""
        return self._clients.get(_region(key))

    def ask(
        self, operation: KMSOperation, subject: str, *, look: Look | None = None, **request: Any
    ) -> Any:
        """Make a request about a key and return KMS's reply.

        Raises:
            KeyUnavailableError: The key does not exist, or KMS refused.
            StorageError: KMS could not be reached.
        """
        client = self.client(subject)
        try:
            return call(client, operation, request, subject, failure=KeyUnavailableError, look=look)
        except S3CryptError as error:
            raise _explained(error, operation, subject) from error.__cause__

    def pages(
        self, operation: KMSOperation, subject: str, field_name: str, **request: Any
    ) -> Iterator[Any]:
        """Yield the entries of all pages of a list."""
        client = self.client(subject)
        for page in pages(client, operation, request, subject, failure=KeyUnavailableError):
            yield from page[field_name]


def retold(error: S3CryptError, message: str, hint: str) -> S3CryptError:
    """Return an error of the same type, code and request with another message and hint."""
    return type(error)(message, hint=hint, code=error.code, request_id=error.request_id)


# KMS is eventually consistent: for a few seconds, requests may not find a new key.
SETTLING_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


def patiently(step: Callable[[], T]) -> T:
    """Return the result of a step that KMS may refuse for some seconds, because a key is new.

    Raises:
        KeyUnavailableError: KMS refused for another reason, or still does not find the key.
    """
    for seconds in SETTLING_SECONDS:
        try:
            return step()
        except KeyUnavailableError as error:
            if error.code != "NotFoundException":
                raise
        time.sleep(seconds)
    return step()


def _region(key: str) -> str | None:
    parts = key.split(":")
    return parts[3] if parts[0] == "arn" and len(parts) >= 6 else None


# (operation, KMS's code) -> (description, advice), if the operation allows a more precise
# explanation than the code alone.
_EXPLANATIONS = {
    ("create_key", "LimitExceededException"): (
        "the account has as many KMS keys in this region as its quota allows",
        "Delete keys nobody needs, or ask AWS for a higher quota.",
    ),
    ("create_key", "TagException"): ("KMS refused the tags", "Check their characters."),
    ("create_alias", "AlreadyExistsException"): (
        "the alias was taken meanwhile",
        "Choose another alias.",
    ),
    ("create_alias", "LimitExceededException"): (
        "the key has as many aliases as the quota allows",
        "Delete an alias.",
    ),
    ("create_grant", "LimitExceededException"): (
        "the key has as many grants as the quota allows",
        "Revoke a grant: `s3crypt keys grants KEY` lists them.",
    ),
    ("revoke_grant", "NotFoundException"): (
        "it has no such grant",
        "`s3crypt keys grants KEY` lists them.",
    ),
    ("retire_grant", "NotFoundException"): (
        "it has no such grant",
        "`s3crypt keys grants KEY` lists them.",
    ),
    ("retire_grant", "InvalidGrantTokenException"): (
        "KMS does not know it",
        "Check the token, and the region: the token is that of a grant in one region.",
    ),
    ("describe_key", "NotFoundException"): (
        "no such key",
        "Give a key id, a key ARN or alias/NAME, and check the region and the account.",
    ),
    ("rotate_key_on_demand", "LimitExceededException"): (
        f"it was rotated on demand {MAX_ON_DEMAND_ROTATIONS} times, all that KMS allows a key",
        f"Leave it to automatic rotation, which has no such limit. {NEW_KEY_HINT}",
    ),
    ("rotate_key_on_demand", "ConflictException"): (
        "a rotation is in progress",
        "Wait for it to finish: the key's description says so.",
    ),
}


def _explained(error: S3CryptError, operation: str, subject: str) -> S3CryptError:
    if (operation, error.code) not in _EXPLANATIONS:
        return error
    what, hint = _EXPLANATIONS[operation, str(error.code)]
    return retold(error, f"{subject}: {what}", hint)
