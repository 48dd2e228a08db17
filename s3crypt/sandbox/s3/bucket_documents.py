# SPDX-License-Identifier: Apache-2.0
"""Bucket configurations that S3 stores as XML and returns as they were written.

A family of rules decides which documents are accepted. This module parses, stores and returns them
without losing an element. It must not know the meaning of a configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from xml.etree import ElementTree as ET

from s3crypt.sandbox.backend import Moto
from s3crypt.sandbox.wire import Refusal, Reply, Request, xml_reply

from .operations import ANY, BUCKET, Operation, Rules
from .refusals import invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

# A function that refuses a new document of moto's bucket, or adds missing elements to it.
Check: TypeAlias = Callable[[Moto, Any, ET.Element], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of bucket configuration: its query parameter, its root element, and its check.

    `absent` is S3's error code and message for a bucket without this configuration.
    """

    parameter: str
    root: str
    absent: tuple[str, str]
    check: Check

    def rules(self) -> Rules:
        """Return the rule that puts, gets and deletes this configuration."""
        return {Operation(ANY, BUCKET, self.parameter): self._answer}

    def _answer(self, moto: Moto, request: Request) -> Reply:
        bucket = existing_bucket(moto, request)
        match request.method:
            case "PUT":
                document = parsed(request.body, self.root)
                self.check(moto, bucket, document)
                keep(bucket, self.parameter, document)
                return Reply(200)
            case "GET":
                return self._document(bucket)
            case "DELETE":
                documents_of(bucket).pop(self.parameter, None)
                return Reply(204)
            case _:
                return moto(request)

    def _document(self, bucket: Any) -> Reply:
        found = documents_of(bucket).get(self.parameter)
        if found is None:
            code, message = self.absent
            raise Refusal(404, code, message)
        return xml_reply(200, found)


def existing_bucket(moto: Moto, request: Request) -> Any:
    """Return moto's bucket that a request names. Refuse the request if there is no such bucket."""
    bucket = moto.bucket(request.bucket)
    if bucket is None:
        raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist")
    return bucket


def documents_of(bucket: Any) -> dict[str, str]:
    """Return the documents of moto's bucket: query parameter -> XML. The caller may modify them."""
    found: dict[str, str] | None = getattr(bucket, "s3crypt_documents", None)
    if found is None:
        found = bucket.s3crypt_documents = {}
    return found


def keep(bucket: Any, parameter: str, document: ET.Element) -> None:
    """Store a document beside moto's bucket, under a query parameter."""
    documents_of(bucket)[parameter] = ET.tostring(document, encoding="unicode")


def kept(bucket: Any, parameter: str) -> ET.Element | None:
    """Return a stored document of moto's bucket, or None if there is no such document."""
    found = documents_of(bucket).get(parameter)
    return None if found is None else ET.fromstring(found)  # noqa: S314  our own text


def parsed(body: bytes, root: str) -> ET.Element:
    """Return a request's document without namespaces.

    Refuse invalid XML or another root element.
    """
    try:
        # Safe: expat limits the expansion of entities, and the sandbox listens only on loopback.
        document = ET.fromstring(body)  # noqa: S314
    except ET.ParseError:
        raise malformed() from None
    for element in document.iter():
        element.tag = element.tag.rpartition("}")[2]
    if document.tag != root:
        raise malformed()
    return document


def text_of(element: ET.Element, path: str) -> str | None:
    """Return the text of the first element at this path, or None if there is no such element."""
    found = element.find(path)
    return None if found is None else (found.text or "").strip()


def texts_of(element: ET.Element, path: str) -> Iterator[str]:
    """Yield the texts of all elements at this path."""
    return ((found.text or "").strip() for found in element.iterfind(path))


def malformed() -> Refusal:
    """Return S3's refusal of a document that does not match its schema."""
    return invalid(
        "The XML you provided was not well-formed or did not validate against our published schema",
        "MalformedXML",
    )
