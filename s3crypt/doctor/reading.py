# SPDX-License-Identifier: Apache-2.0
"""Fetches the object's first bytes. In a client-side object, these bytes name the keys.

S3 decrypts its server-side encryption to return these bytes. This module decrypts nothing.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from s3crypt.errors import S3CryptError
from s3crypt.formats import MAX_HEADER_LENGTH
from s3crypt.modes import ClientSide
from s3crypt.objects.opened import ReadOptions

from .refusals import is_denied, of_error
from .values import Area, Case, Diagnosis, Outcome

if TYPE_CHECKING:
    from .known import Known, Services


def look(case: Case, services: "Services", known: "Known") -> None:
    """Fetch the first bytes of the object. `check_reading` reports the result."""
    at = case.location
    if at is None or known.head is None or not case.reads:
        return
    mode = None if isinstance(case.mode, ClientSide) or case.purpose == "rotate" else case.mode
    try:
        known.info = services.objects().look(at, ReadOptions(mode), first=MAX_HEADER_LENGTH)
    except S3CryptError as error:
        known.read_error = error


def check_reading(known: "Known") -> Iterator[Diagnosis]:
    """Report whether the first bytes could be read."""
    error = known.read_error
    if error is None:
        if known.info is not None:
            keys = f", its keys: {', '.join(known.info.keys)}" if known.info.keys else ""
            yield Diagnosis("reading", Outcome.OK, Area.S3, f"the first bytes are read{keys}")
        return
    found = of_error("reading", Area.S3, error)
    is_of_kms = "kms:" in str(error) or str(error.code).startswith("KMS.")
    area = Area.KMS if is_of_kms and is_denied(error) else found.area
    yield Diagnosis("reading", Outcome.WRONG, area, found.seen, found.next)
