# SPDX-License-Identifier: Apache-2.0
"""The location of an object: `s3://bucket/name`.

The ARN of an access point can replace the bucket.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from .errors import ConfigError, FormatError, IntegrityError, KeyUnavailableError, PolicyError

# The ARNs that S3 accepts in place of a bucket: ARNs of access points, including multi-Region,
# Object Lambda and Outposts access points. Such an ARN may contain slashes. The object's name
# begins after the slash that follows the ARN.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html
_ACCESS_POINT = re.compile(
    r"arn:aws[a-z-]*:(?:"
    r"(?:s3|s3-object-lambda):[a-z0-9-]*:[0-9]{12}:accesspoint[:/][A-Za-z0-9.-]{1,63}"
    r"|s3-outposts:[a-z0-9-]+:[0-9]{12}:outpost[:/][A-Za-z0-9-]{1,63}"
    r"[:/]accesspoint[:/][A-Za-z0-9-]{1,63})(?=/|\Z)"
)
_BUCKET_ARN = re.compile(r"arn:aws[a-z-]*:s3:::([A-Za-z0-9.-]+)(/.*)?", re.DOTALL)
# The suffixes in the names of directory buckets (S3 Express), and of their access points.
_DIRECTORY_BUCKETS = ("--x-s3", "--xa-s3")


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket, and the name of an object in it (S3's key) or a prefix of names.

    Attributes:
        bucket: The name of a bucket, or the alias or ARN of an access point, as the caller wrote
            it.
        name: The rest of the URI, after the slash. Empty for the bucket itself.
    """

    bucket: str
    name: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Return the location for a URI `s3://bucket/name`.

        Raises:
            ConfigError: The URI has another form, or contains an ARN that is not an access point's
                ARN.
        """
        scheme, separator, rest = str(uri).partition("://")
        bucket, name = split_bucket(rest)
        if scheme != "s3" or not separator or not bucket:
            hint = _meant(str(uri)) or "s3://bucket/name"
            raise ConfigError(f"Not the URI of an object: {uri!r}.", hint=hint)
        if bucket.startswith("arn:") and not _ACCESS_POINT.fullmatch(bucket):
            raise ConfigError(
                f"{uri!r} has an ARN that is not an access point's.",
                hint=_meant(rest) or "s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/ACCESS_POINT/name",
            )
        if not _is_unicode(name):
            raise ConfigError(
                f"Not the URI of an object: {uri!r}.", hint="Names of objects in S3 are UTF-8."
            )
        return cls(bucket, name)

    @classmethod
    def parse_object(cls, uri: str) -> Self:
        """Return the location of one object. Refuse a URI without a name."""
        location = cls.parse(uri)
        if not location.name:
            raise ConfigError(f"{uri!r} names a bucket, not an object.", hint="s3://bucket/name")
        return location

    @property
    def is_prefix(self) -> bool:
        """Return whether the location is a bucket, or its name ends with a slash."""
        return not self.name or self.name.endswith("/")

    @property
    def is_in_directory_bucket(self) -> bool:
        """Return whether the bucket is a directory bucket, by the suffix of its name."""
        return self.bucket.endswith(_DIRECTORY_BUCKETS)

    @property
    def arguments(self) -> dict[str, str]:
        """Return the request arguments that identify the object."""
        return {"Bucket": self.bucket, "Key": self.name}

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Add the object's URI to errors that do not contain it."""
        try:
            yield
        except (IntegrityError, FormatError, PolicyError, KeyUnavailableError) as error:
            if str(self) not in str(error):
                error.args = (f"{self}: {error}",)
            raise

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.name}"


def split_bucket(text: str) -> tuple[str, str]:
    """Return the bucket (or the ARN in its place) at the beginning of a text, and the rest.

    The slash between them is removed.
    """
    arn = _ACCESS_POINT.match(text)
    bucket = arn[0] if arn else text.partition("/")[0]
    return bucket, text[len(bucket) + 1 :]


def _meant(text: str) -> str | None:
    """Return a hint with the right URI for an ARN. Return None if the text is not an ARN of S3."""
    if found := _BUCKET_ARN.fullmatch(text):
        return f"Did you mean s3://{found[1]}{found[2] or '/'}?"
    return f"Did you mean s3://{text}?" if _ACCESS_POINT.match(text) else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
