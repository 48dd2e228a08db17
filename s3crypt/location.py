# SPDX-License-Identifier: Apache-2.0
"""Where an object is: `s3://bucket/name`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from .errors import ConfigError, FormatError, IntegrityError, KeyUnavailableError, PolicyError


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket and an object's name in it (what S3 calls its key), or a prefix of names."""

    bucket: str
    name: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Return the location of `s3://bucket/name`.

        Raises:
            ConfigError: It has another form.
        """
        scheme, separator, rest = str(uri).partition("://")
        bucket, _, name = rest.partition("/")
        if scheme != "s3" or not separator or not bucket:
            raise ConfigError(f"Not the URI of an object: {uri!r}.", hint="s3://bucket/name")
        return cls(bucket, name)

    @classmethod
    def parse_object(cls, uri: str) -> Self:
        """Return the location of one object; a bucket or a `prefix/` alone is refused."""
        location = cls.parse(uri)
        if not location.name:
            raise ConfigError(f"{uri!r} names a bucket, not an object.", hint="s3://bucket/name")
        return location

    @property
    def is_prefix(self) -> bool:
        """Tell whether it names a bucket or ends with a slash."""
        return not self.name or self.name.endswith("/")

    @property
    def arguments(self) -> dict[str, str]:
        """Return the request arguments that name the object."""
        return {"Bucket": self.bucket, "Key": self.name}

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Name the object in errors that know only its bytes."""
        try:
            yield
        except (IntegrityError, FormatError, PolicyError, KeyUnavailableError) as error:
            if str(self) not in str(error):
                error.args = (f"{self}: {error}",)
            raise

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.name}"
