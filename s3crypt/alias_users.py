# SPDX-License-Identifier: Apache-2.0
"""The buckets that would use another key if an alias moved.

`s3crypt.kms` moves aliases and knows no buckets, and `s3crypt.buckets` knows no keys. This module
looks at both and changes nothing.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .aws import Clients
from .buckets import names
from .buckets.configuration import home_of, read
from .buckets.settings import Encryption
from .errors import ObjectNotFoundError, S3CryptError

if TYPE_CHECKING:
    import boto3
    from types_boto3_s3.client import S3Client

_READERS = 8


@dataclass(frozen=True, slots=True)
class AliasUsers:
    """The buckets of an account whose default encryption names a key by an alias.

    Attributes:
        buckets: The names of the buckets.
        looked_at: The number of buckets whose default encryption was read.
        not_read: The buckets that could not be read, each with the reason. They may name the alias.
        not_listed: The reason why the buckets could not be listed; empty if they were.
    """

    buckets: tuple[str, ...] = ()
    looked_at: int = 0
    not_read: Mapping[str, str] = field(default_factory=dict)
    not_listed: str = ""


def find_alias_users(
    alias_arn: str, *, session: "boto3.Session | None" = None, allow_plain_http: bool = False
) -> AliasUsers:
    """Return the buckets of the caller's account whose default encryption names an alias.

    One request per bucket, eight in parallel. A refusal is part of the result, not an error.

    Args:
        alias_arn: The ARN of the alias.
        session: boto3 session to make clients from; the default one if left out.
        allow_plain_http: Let requests go to other machines over plain HTTP.
    """
    clients: Clients[S3Client] = Clients("s3", session=session, allow_plain_http=allow_plain_http)
    client = clients.get()
    try:
        listed = tuple(names(client))
    except S3CryptError as error:
        return AliasUsers(not_listed=str(error))
    with ThreadPoolExecutor(_READERS, thread_name_prefix="s3crypt-alias") as pool:
        looks = pool.map(lambda bucket: _names_alias(client, bucket, alias_arn), listed)
        return _summed(zip(listed, looks, strict=True))


def _names_alias(client: "S3Client", bucket: str, alias_arn: str) -> bool | str | None:
    """Return whether a bucket names the alias, the reason if unknown, None for a deleted bucket."""
    try:
        key = read(client, bucket, Encryption).key
        if key == alias_arn:
            return True
        # S3 looks for an alias without an ARN in the bucket's own Region.
        return key == alias_arn.split(":")[5] and home_of(client, bucket) in {
            alias_arn.split(":")[3],
            None,
        }
    except ObjectNotFoundError:
        return None
    except S3CryptError as error:
        return str(error)


def _summed(looks: Iterable[tuple[str, bool | str | None]]) -> AliasUsers:
    found = tuple((bucket, look) for bucket, look in looks if look is not None)
    return AliasUsers(
        buckets=tuple(bucket for bucket, look in found if look is True),
        looked_at=sum(isinstance(look, bool) for _, look in found),
        not_read={bucket: look for bucket, look in found if isinstance(look, str)},
    )
