# SPDX-License-Identifier: Apache-2.0
"""Requests about KMS keys, and explanations of KMS's errors.

Each request is sent to the key's own Region. The callers decide which requests to make.
"""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from s3crypt.errors import KeyUnavailableError, S3CryptError
from s3crypt.operations import KMSOperation
from s3crypt.requests import Look, call, is_unsure, pages

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
    """Sends requests about keys to KMS. Keys are given by name.

    Args:
        clients: Creates a client for each Region.
    """

    def __init__(self, clients: "Clients[KMSClient]") -> None:
        self._clients = clients

    def client(self, key: str) -> "KMSClient":
        """Return the client for the Region in an ARN. For other names, use the session's Region."""
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
    """Return an error of the same type, code and request id with another message and hint."""
    return type(error)(message, hint=hint, code=error.code, request_id=error.request_id)


# KMS is eventually consistent: for a few seconds, a request may not find a new key. `patiently`
# waits for these numbers of seconds between its attempts.
SETTLING_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


def patiently(step: Callable[[], T]) -> T:
    """Return the result of `step`. Repeat it for some seconds while KMS does not find the new key.

    Raises:
        KeyUnavailableError: KMS refused for another reason, or still does not find the key at the
            end.
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


# (operation, KMS's error code) -> (description, advice). Listed here are the errors that can be
# explained better if the operation is known.
_EXPLANATIONS = {
    ("create_key", "LimitExceededException"): (
        "the account has reached its quota of KMS keys in this Region",
        "Delete unneeded keys, or ask AWS for a higher quota.",
    ),
    ("create_key", "TagException"): ("KMS refused the tags", "Check the characters of the tags."),
    ("create_alias", "AlreadyExistsException"): (
        "the alias was created by another caller meanwhile",
        "Choose another alias.",
    ),
    ("create_alias", "LimitExceededException"): (
        "the key has reached its quota of aliases",
        "Delete an alias: `s3crypt keys delete-alias ALIAS`.",
    ),
    ("enable_key", "LimitExceededException"): (
        "the account has reached its quota of enabled KMS keys in this Region",
        "Delete unneeded keys, or ask AWS for a higher quota.",
    ),
    ("tag_resource", "LimitExceededException"): (
        "the key has 50 tags, which is the limit of KMS",
        "Remove a tag: `s3crypt keys untag KEY NAME`.",
    ),
    ("tag_resource", "TagException"): ("KMS refused the tags", "Check the characters of the tags."),
    ("update_alias", "LimitExceededException"): (
        "the key has reached its quota of aliases",
        "Delete an alias: `s3crypt keys delete-alias ALIAS`.",
    ),
    ("create_grant", "LimitExceededException"): (
        "the key has reached its quota of grants",
        "Revoke a grant: `s3crypt keys grants KEY` lists them.",
    ),
    ("revoke_grant", "NotFoundException"): (
        "the key does not have this grant",
        "`s3crypt keys grants KEY` lists them.",
    ),
    ("retire_grant", "NotFoundException"): (
        "the key does not have this grant",
        "`s3crypt keys grants KEY` lists them.",
    ),
    ("retire_grant", "AccessDeniedException"): (
        "kms:RetireGrant is refused: the caller is not the grant's retiring principal",
        "An administrator of the key can revoke it: `s3crypt keys revoke-grant KEY GRANT`.",
    ),
    ("retire_grant", "InvalidGrantTokenException"): (
        "KMS does not know the token",
        "Check the token and the Region: a token is valid only in the grant's Region.",
    ),
    ("describe_key", "NotFoundException"): (
        "no such key",
        "Give a key id, a key ARN or alias/NAME, and check the region and the account.",
    ),
    ("rotate_key_on_demand", "LimitExceededException"): (
        f"the key was rotated on demand {MAX_ON_DEMAND_ROTATIONS} times, which is the limit of KMS",
        f"Use automatic rotation, which has no limit. {NEW_KEY_HINT}",
    ),
    ("rotate_key_on_demand", "KMSInvalidStateException"): (
        "the key's deletion is scheduled, or new material is not yet imported in every Region",
        "Show the state of the key's materials: `s3crypt keys materials KEY`.",
    ),
    ("rotate_key_on_demand", "ConflictException"): (
        "a rotation is in progress",
        "Wait until it has finished: `s3crypt keys show KEY`.",
    ),
}


# Error codes with which KMS refuses a request because of the caller, or because of the kind or the
# state of the key.
_REFUSALS = frozenset(
    {
        "AccessDeniedException",
        "DisabledException",
        "KMSInvalidStateException",
        "UnsupportedOperationException",
    }
)
# Operations that KMS permits to callers of other accounts than the key's account.
# https://docs.aws.amazon.com/kms/latest/developerguide/kms-api-permissions-reference.html
_ACROSS_ACCOUNTS: frozenset[KMSOperation] = frozenset(
    {
        "create_grant",
        "describe_key",
        "get_key_rotation_status",
        "list_grants",
        "retire_grant",
        "revoke_grant",
    }
)


def iam_action(operation: KMSOperation) -> str:
    """Return the IAM action of an operation, such as `kms:DisableKey`."""
    return f"kms:{operation.title().replace('_', '')}"


def _explained(error: S3CryptError, operation: KMSOperation, subject: str) -> S3CryptError:
    if is_unsure(error):
        # The refusal may be caused by an earlier attempt that succeeded although its reply was
        # lost, so the error is not explained further.
        return error
    if (operation, error.code) in _EXPLANATIONS:
        what, hint = _EXPLANATIONS[operation, str(error.code)]
        return retold(error, f"{subject}: {what}", hint)
    if error.code not in _REFUSALS:
        return error
    reason = str(error).removeprefix(f"{subject}: ")
    hint = str(error.hint or "")
    if error.code == "AccessDeniedException":
        hint = _permission_hint(operation, subject)
    return retold(error, f"{subject}: {iam_action(operation)} is refused: {reason}", hint)


def _permission_hint(operation: KMSOperation, subject: str) -> str:
    action, account = iam_action(operation), subject.split(":")[4:5]
    hint = (
        f"Ask for {action} in the key policy, or in an IAM policy if the key policy lets IAM "
        "decide."
    )
    if account and operation not in _ACROSS_ACCOUNTS:
        hint += f" KMS allows it only to callers of the key's account, {account[0]}."
    return hint
