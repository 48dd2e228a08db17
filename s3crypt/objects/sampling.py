# SPDX-License-Identifier: Apache-2.0
"""Examine some objects of a bucket to find objects under customer keys (SSE-C).

A listing does not say how an object is encrypted. S3 replies 400 to a HEAD of an SSE-C object
without its key. This is the only way to recognise such an object without its key.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from s3crypt.aws_errors import http_status
from s3crypt.errors import StorageError
from s3crypt.location import Location
from s3crypt.requests import call

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

MOST = 100
"""The maximum number of objects in a sample."""

_WORKERS = 8
_DENIED = frozenset({"403", "AccessDenied"})


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of a sample.

    Attributes:
        looked_at: The number of objects whose encryption could be determined.
        sse_c: The names of the objects under customer keys.
        is_whole: Whether the encryption of all objects in the bucket was determined.
    """

    looked_at: int = 0
    sse_c: tuple[str, ...] = ()
    is_whole: bool = True


def sample_of(client: "S3Client", bucket: str) -> Sample:
    """Examine up to 100 of the first 1,000 objects of a bucket, at even intervals.

    If the caller has no permission to list the bucket, the sample is empty.

    Raises:
        StorageError: S3 failed for another reason.
    """
    try:
        page = call(client, "list_objects_v2", {"Bucket": bucket}, f"s3://{bucket}")
    except StorageError as error:
        if error.code not in _DENIED:
            raise
        return Sample(is_whole=False)
    names = [str(entry["Key"]) for entry in page.get("Contents") or ()]
    chosen = _spread(names)
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="s3crypt-sample") as pool:
        found = list(pool.map(partial(_is_sse_c, client, bucket), chosen))
    seen = [name for name, is_one in zip(chosen, found, strict=True) if is_one is not None]
    is_whole = len(seen) == len(names) and not page.get("IsTruncated")
    sse_c = (name for name, is_one in zip(chosen, found, strict=True) if is_one)
    return Sample(len(seen), tuple(sse_c), is_whole)


def _spread(names: Sequence[str]) -> Sequence[str]:
    step = -(-len(names) // MOST) or 1
    return names[::step]


def _is_sse_c(client: "S3Client", bucket: str, name: str) -> bool | None:
    """Return whether an object is under a customer key.

    Return None if a HEAD does not show this.
    """
    subject = str(Location(bucket, name))
    try:
        call(client, "head_object", {"Bucket": bucket, "Key": name}, subject)
    except StorageError as error:
        status = http_status(error)
        if status == HTTPStatus.BAD_REQUEST:
            return True
        if status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
            return None
        raise
    return False
