# SPDX-License-Identifier: Apache-2.0
"""Find the buckets that would use another key if an alias were moved.

`s3crypt.kms` moves aliases and does not know buckets. `s3crypt.buckets` does not know keys. This
module reads both and changes nothing.
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
        not_read: The buckets whose default encryption could not be read, each with the reason. They
            may name the alias.
        not_listed: The reason why the buckets could not be listed. Empty if they were listed.
    """

    buckets: tuple[str, ...] = ()
    looked_at: int = 0
    not_read: Mapping[str, str] = field(default_factory=dict)
    not_listed: str = ""


def find_alias_users(
    alias_arn: str, *, session: "boto3.Session | None" = None, allow_plain_http: bool = False
) -> AliasUsers:
    """Return the buckets of the caller's account whose default encryption names an alias.

    The function makes one request per bucket, eight of them in parallel. If S3 refuses a request,
    the result says so; no error is raised.

    Args:
        alias_arn: The ARN of the alias.
        session: The boto3 session that creates the clients. None for boto3's default session.
        allow_plain_http: Allow requests to other machines over plain HTTP.
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
    """Return whether a bucket names the alias.

    Return the reason as text if it is unknown, and None if the bucket was deleted.
    """
    try:
        key = read(client, bucket, Encryption).key
        if key == alias_arn:
            return True
        # If the setting has an alias without an ARN, S3 looks for it in the bucket's own Region.
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
