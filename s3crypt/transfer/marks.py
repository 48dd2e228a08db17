# SPDX-License-Identifier: Apache-2.0
"""Marks with which a writer recognises its own object after the reply to its write was lost.

Equal content does not prove that an object comes from this write: two writers may store the same
bytes. Only the object of one write has its mark, so a writer that finds its mark knows that its
write succeeded.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import md5
from typing import TYPE_CHECKING, Any

from s3crypt.location import Location
from s3crypt.requests import Attempts, Reply, call

from . import conditions

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


@dataclass(frozen=True, slots=True)
class Mark:
    """A property that only the object of one write has. At least one field is set.

    Attributes:
        metadata: Entries of the object's S3 metadata, such as a random token or newly wrapped keys.
        beginning: The first bytes of the object: the header of a message, which contains a random
            id.
        etag: The ETag that S3 computes from the ETags of an upload's parts. Another upload of the
            same bytes has the same ETag, so this is used only for writes without a condition.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    beginning: bytes = field(default=b"", repr=False)
    etag: str | None = None

    def found(
        self,
        client: "S3Client",
        location: Location,
        arguments: Mapping[str, Any],
        attempts: Attempts,
    ) -> Reply | None:
        """Return a reply about the object if it has this mark. Return None if it does not.

        Args:
            client: The S3 client.
            location: The object.
            arguments: Further arguments of a request that reads the object, such as the customer
                key of SSE-C.
            attempts: The attempts of the write whose reply was lost.

        Raises:
            S3CryptError: For the reasons that `requests.call` documents.
        """
        if self.beginning:
            return self._at_the_beginning(client, location, arguments, attempts)
        reply = conditions.head(client, location, arguments, within=attempts)
        return reply if self._is_on(reply) else None

    def _is_on(self, reply: Reply) -> bool:
        if self.etag is not None:
            return str(reply["ETag"]).strip('"') == self.etag
        found = {name.lower(): value for name, value in reply.get("Metadata", {}).items()}
        return bool(self.metadata) and self.metadata.items() <= found.items()

    def _at_the_beginning(
        self,
        client: "S3Client",
        location: Location,
        arguments: Mapping[str, Any],
        attempts: Attempts,
    ) -> Reply | None:
        first = f"bytes=0-{len(self.beginning) - 1}"
        request = {**location.arguments, **arguments, "Range": first}
        reply = call(client, "get_object", request, str(location), within=attempts, is_look=True)
        with reply["Body"] as body:
            is_there = body.read(len(self.beginning)) == self.beginning
        return {name: reply[name] for name in reply if name != "Body"} if is_there else None


def etag_of_parts(etags: list[str]) -> str | None:
    """Return the ETag of an object made of parts with these ETags, without quotes.

    Return None if an ETag of a part is not an MD5.
    """
    digests = [_MD5.fullmatch(etag) for etag in etags]
    if not all(digests):
        return None
    joined = b"".join(bytes.fromhex(digest[1]) for digest in digests if digest)
    return f"{md5(joined, usedforsecurity=False).hexdigest()}-{len(etags)}"
