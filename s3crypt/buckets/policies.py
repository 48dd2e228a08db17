# SPDX-License-Identifier: Apache-2.0
"""Reads, writes and deletes the policy of a bucket.

`s3crypt.policy` makes the statements of a policy, and `s3crypt.policy_changes` decides whether a
policy may be written. `ConfirmRemoveSelfBucketAccess` is never sent, so S3 always refuses a new
policy that would lock its author out of the bucket.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from s3crypt.errors import StorageError
from s3crypt.policy import Document
from s3crypt.requests import call, is_unsure

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_NO_POLICY = "NoSuchBucketPolicy"
# S3's error code -> description and advice.
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketPolicy.html
_EXPLANATIONS: Mapping[str, tuple[str, str]] = {
    "MethodNotAllowed": (
        "the bucket belongs to another account",
        "Only identities of the bucket's own account may read or write its policy.",
    ),
    "MalformedPolicy": (
        "S3 refused the policy",
        "Check that its principals exist and that its resources are of this bucket.",
    ),
}


def read_text(client: "S3Client", bucket: str) -> str | None:
    """Return the text of a bucket's policy as S3 sends it, or None if the bucket has no policy.

    Raises:
        StorageError: S3 refused, or its reply broke off.
    """
    subject = _subject(bucket)
    try:
        reply = call(client, "get_bucket_policy", {"Bucket": bucket}, subject)
    except StorageError as error:
        if error.code == _NO_POLICY:
            return None
        raise _explained(error, bucket) from error.__cause__
    text = str(reply["Policy"])
    # The policy is the whole body of the reply. If the reply breaks off, botocore returns the
    # received part without an error. A part of a JSON object is never valid JSON, so the check
    # below detects this.
    if not _is_json(text):
        raise StorageError(f"{subject}: S3's reply broke off.", hint="Run the command again.")
    return text


def read(client: "S3Client", bucket: str) -> Document | None:
    """Return the policy of a bucket, or None if the bucket has no policy.

    Raises:
        StorageError: S3 refused, or its reply broke off.
        ConfigError: The policy has elements that the grammar of policies does not have.
    """
    text = read_text(client, bucket)
    return None if text is None else Document.parse(text)


def write(client: "S3Client", bucket: str, document: Document) -> None:
    """Replace the policy of a bucket. The caller must read it back to verify it.

    Raises:
        StorageError: S3 refused. If the effect of the request is unknown, the message says so.
    """
    request = {"Bucket": bucket, "Policy": document.render(indent=None)}
    try:
        call(client, "put_bucket_policy", request, _subject(bucket))
    except StorageError as error:
        raise _explained(error, bucket) from error.__cause__


def delete(client: "S3Client", bucket: str) -> None:
    """Delete the policy of a bucket. A bucket without a policy is not an error.

    Raises:
        StorageError: S3 refused. If the effect of the request is unknown, the message says so.
    """
    try:
        call(client, "delete_bucket_policy", {"Bucket": bucket}, _subject(bucket))
    except StorageError as error:
        raise _explained(error, bucket) from error.__cause__


def _subject(bucket: str) -> str:
    return f"s3://{bucket} (its policy)"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _explained(error: StorageError, bucket: str) -> StorageError:
    code = str(error.code)
    if code not in _EXPLANATIONS or is_unsure(error):
        return error
    what, hint = _EXPLANATIONS[code]
    # Add S3's own message, which explains the fault in the policy.
    said = f" ({error.__cause__})" if code == "MalformedPolicy" else ""
    return type(error)(
        f"{_subject(bucket)}: {what}{said}",
        hint=hint,
        code=error.code,
        request_id=error.request_id,
    )
