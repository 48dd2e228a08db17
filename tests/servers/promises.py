# SPDX-License-Identifier: Apache-2.0
"""The promises, worded like the table in docs/modes.md, each with its check.

A check raises no error if a server fails it: the outcome is then "no", and the note has the error.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from awscrt.checksums import crc64nvme
from botocore.exceptions import BotoCoreError, ClientError

from s3crypt import (
    DSSEKMS,
    SSEC,
    SSEKMS,
    SSES3,
    AESKeyring,
    ClientSide,
    ConflictError,
    KeyUnavailableError,
    PolicyError,
    S3Crypt,
    S3CryptError,
    StorageError,
)
from s3crypt.transfer import PART_LENGTH
from s3crypt.transfer.checksums import full_object_crc
from s3crypt.transfer.conditions import delete_unchanged

from .place import (
    BY_HEAD,
    BY_RE_ENCRYPTION,
    NO,
    REMOVED,
    THEIRS,
    UNSUPPORTED,
    YES,
    Outcome,
    Place,
    Watch,
    because,
)

if TYPE_CHECKING:
    from s3crypt import Mode
    from s3crypt.location import Location

SMALL, LARGE = 1000, PART_LENGTH + 70_000
_CUSTOMER_KEY, _OTHER_CUSTOMER_KEY = bytes(range(32)), bytes(range(1, 33))
_CHECKSUM = "x-amz-checksum-crc64nvme"
_TAGS = {"project": "ledger", "owner": "finance"}
_METADATA = {"colour": "blue"}

Check = Callable[[Place], Outcome]


@cache
def _content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def _client(name: str = "one", location: str = "header") -> ClientSide:
    keyring = AESKeyring("servers", name, random.Random(name).randbytes(32))
    return ClientSide(keyring, key_location="metadata" if location == "metadata" else "header")


# --- Another writer ---------------------------------------------------------------------------


def _keeps(
    place: Place,
    operation: str,
    prepare: Callable[[Location], None],
    act: Callable[[S3Crypt, Location], object],
    *,
    mode: Mode | None = None,
) -> Outcome:
    """Decide whether the server or the store notices an object of another writer.

    The check runs the operation on three objects. For the first there is no other writer. For the
    second, the other writer stores its object right before the last request of the operation, so
    that only the server can notice it. For the third, it is stored right before the last HEAD
    that precedes the operation.
    """
    location = place.fresh()
    prepare(location)
    alone = Watch(place.store(mode))
    try:
        act(alone.store, location)
    except S3CryptError as error:
        return Outcome(NO, f"without another writer: {because(error)}")
    if operation not in alone.made:
        return Outcome(UNSUPPORTED, f"no {operation} was requested: {alone.made}")
    if _is_kept(place, operation, alone.last(operation), prepare, act, mode):
        return Outcome(YES)
    looks = alone.looks_before_last(operation)
    if looks and _is_kept(place, "HeadObject", looks, prepare, act, mode):
        return Outcome(BY_HEAD)
    return Outcome(NO, "another writer's object was lost")


def _is_kept(
    place: Place,
    before: str,
    number: int,
    prepare: Callable[[Location], None],
    act: Callable[[S3Crypt, Location], object],
    mode: Mode | None,
) -> bool:
    location = place.fresh()
    prepare(location)
    came: list[bool] = []

    def come(_: object) -> None:
        place.raw().put_object(**location.arguments, Body=THEIRS)
        came.append(True)

    watch = Watch(place.store(mode), before, number, come)
    try:
        act(watch.store, location)
    except ConflictError:
        is_told = True
    else:
        is_told = False
    assert came, f"{before} {number} was never requested: {watch.made}"
    return is_told and place.is_there(location) and place.stored(location) == THEIRS


def _if_absent(size: int, operation: str, place: Place) -> Outcome:
    def act(store: S3Crypt, location: Location) -> None:
        store.put(_content(size), str(location), if_absent=True)

    there = place.fresh()
    place.raw().put_object(**there.arguments, Body=THEIRS)
    try:
        act(place.store(_client()), there)
    except ConflictError:
        pass
    else:
        return Outcome(NO, "an object that was there was overwritten")
    if place.stored(there) != THEIRS:
        return Outcome(NO, "an object that was there was changed")
    return _keeps(place, operation, lambda _: None, act, mode=_client())


def _rotation_keeps(size: int, location: str, operation: str, place: Place) -> Outcome:
    old, new = _client("one", location), _client("two", location)

    def prepare(at: Location) -> None:
        place.store(old).put(_content(size), str(at))

    def act(store: S3Crypt, at: Location) -> None:
        store.rotate(str(at), to=new)

    return _keeps(place, operation, prepare, act, mode=old)


def _removal_keeps(place: Place) -> Outcome:
    etags: dict[Location, str] = {}

    def prepare(at: Location) -> None:
        etags[at] = place.raw().put_object(**at.arguments, Body=b"not encrypted")["ETag"]

    def act(store: S3Crypt, at: Location) -> None:
        delete_unchanged(store.client, at, etags[at], {})

    outcome = _keeps(place, "DeleteObject", prepare, act)
    if any(place.is_there(at) and place.stored(at) != THEIRS for at in etags):
        return Outcome(NO, "the object was not removed")
    return outcome


# --- Rotation ---------------------------------------------------------------------------------


def _rotates(size: int, location: str, action: str, place: Place) -> Outcome:
    """Rotate a tagged client-side object; its bytes, tags and metadata must not change."""
    return _moves(
        place, _client("one", location), _client("two", location), size=size, action=action
    )


def _copies(place: Place, old: Mode, new: Mode) -> Outcome:
    return _moves(place, old, new, size=SMALL, action="copied")


def _moves(place: Place, old: Mode, new: Mode, *, size: int, action: str) -> Outcome:
    at, data = place.fresh(), _content(size)
    try:
        place.store(old).put(data, str(at), metadata=_METADATA)
    except (StorageError, PolicyError, KeyUnavailableError) as error:
        return Outcome(UNSUPPORTED, because(error))
    try:
        (done,) = place.store(old).rotate(str(at), to=new)
        reader = place.store(new)
        is_same = reader.read(str(at)) == data
        metadata = reader.inspect(str(at)).metadata
    except S3CryptError as error:
        return Outcome(NO, because(error))
    if not is_same or metadata != _METADATA:
        return Outcome(NO, f"bytes the same: {is_same}; metadata: {dict(metadata)}")
    if done.action == action:
        return Outcome(YES)
    expected = action == "copied" and done.action == "re-encrypted"
    return Outcome(BY_RE_ENCRYPTION if expected else NO, f"it was {done.action}")


def _keeps_tags(size: int, place: Place) -> Outcome:
    at, old, new = place.fresh(), _client("one"), _client("two")
    store = place.store(old)
    try:
        store.put(_content(size), str(at), tags=_TAGS)
    except StorageError as error:
        return Outcome(UNSUPPORTED, because(error))
    before = _tags_of(place, at)
    if isinstance(before, Outcome):
        return before
    try:
        store.rotate(str(at), to=new)
        after = place.store(new)._objects.tags(at, None)
    except S3CryptError as error:
        return Outcome(NO, because(error))
    return Outcome(YES) if before == after == _TAGS else Outcome(NO, f"{before} became {after}")


def _tags_of(place: Place, at: Location) -> dict[str, str] | Outcome:
    try:
        return place.store()._objects.tags(at, None) or Outcome(NO, "the put's tags are not there")
    except S3CryptError as error:
        return Outcome(NO, because(error))


# --- Modes ------------------------------------------------------------------------------------


def _supports(make: Callable[[Place], Mode], place: Place) -> Outcome:
    """Put and read an object of one part and an object of two parts."""
    mode = make(place)
    outcomes = [_stores(place, mode, size) for size in (SMALL, LARGE)]
    small, large = outcomes
    if small == large:
        return small
    return Outcome(NO, f"one request: {small}; parts: {large}")


def _stores(place: Place, mode: Mode, size: int) -> Outcome:
    at, data, store = place.fresh(), _content(size), place.store(mode)
    try:
        store.put(data, str(at))
    except (StorageError, KeyUnavailableError, PolicyError) as error:
        if place.is_there(at):
            return Outcome(NO, f"the object stayed: {because(error)}")
        return Outcome(REMOVED if isinstance(error, PolicyError) else UNSUPPORTED)
    try:
        seen = store.inspect(str(at))
        is_same = store.read(str(at)) == data
    except S3CryptError as error:
        return Outcome(NO, because(error))
    is_right = is_same and seen.mode == mode.name
    return Outcome(YES) if is_right else Outcome(NO, f"bytes the same: {is_same}; {seen}")


def _knows_etag(size: int, place: Place) -> Outcome:
    at = place.fresh()
    told = place.store(_client()).put(_content(size), str(at)).etag
    found = place.raw().head_object(**at.arguments)["ETag"].strip('"')
    return Outcome(YES) if told == found else Outcome(NO, f"{told} became {found}")


def _reads_ranges(place: Place) -> Outcome:
    at, data, store = place.fresh(), _content(LARGE), place.store(_client())
    try:
        store.put(data, str(at))
        with store.open(str(at)) as file:
            file.seek(-100, 2)
            tail = file.read()
        middle = store.read(str(at), byte_range="4000000-4999999")
        last = store.read(str(at), byte_range="-70001")
    except S3CryptError as error:
        return Outcome(NO, because(error))
    is_right = (tail, middle, last) == (data[-100:], data[4_000_000:5_000_000], data[-70_001:])
    return Outcome(YES) if is_right else Outcome(NO, "other bytes than asked for")


# --- Checksums --------------------------------------------------------------------------------


def _flip_body(params: dict[str, Any]) -> None:
    body = params["body"]
    body = bytes(body) if isinstance(body, bytes | bytearray) else body.read()
    params["body"] = bytes([body[0] ^ 1]) + body[1:]


def _flip_checksum(params: dict[str, Any]) -> None:
    value = bytearray(base64.b64decode(params["headers"][_CHECKSUM]))
    value[0] ^= 1
    params["headers"][_CHECKSUM] = base64.b64encode(value).decode()


def _refuses(
    operation: str, size: int, spoil: Callable[[dict[str, Any]], None], place: Place
) -> Outcome:
    """Change a request before it is signed, so that only its checksum shows the change."""
    at, spoilt, went_without = place.fresh(), [False], [False]

    def spoil_once(params: dict[str, Any]) -> None:
        if _CHECKSUM not in params["headers"]:
            went_without[0] = True
        elif not spoilt[0]:
            spoilt[0] = True
            spoil(params)

    store = place.store(_client())
    # With the first request the store finds out which checksums the server accepts.
    with suppress(S3CryptError):
        store.put(_content(size), str(place.fresh()))
    Watch(store, operation, then=spoil_once)
    try:
        store.put(_content(size), str(at))
    except S3CryptError as error:
        if place.is_there(at):
            return Outcome(NO, f"the object stayed: {because(error)}")
        return Outcome(YES)
    if went_without[0]:
        return Outcome(UNSUPPORTED, "the server takes no CRC-64/NVME here")
    return Outcome(NO, "it was stored")


def _returns_checksum(size: int, place: Place) -> Outcome:
    at = place.fresh()
    try:
        place.store(_client()).put(_content(size), str(at))
        head = place.raw().head_object(**at.arguments, ChecksumMode="ENABLED")
    except (S3CryptError, ClientError, BotoCoreError) as error:
        return Outcome(NO, f"{type(error).__name__}: {error}")
    found = full_object_crc(head)
    if found is None:
        return Outcome(NO, f"type {head.get('ChecksumType')}")
    is_right = found == crc64nvme(place.stored(at))
    return Outcome(YES) if is_right else Outcome(NO, "another one")


def _sse_c(_: Place) -> Mode:
    return SSEC(_CUSTOMER_KEY)


PROMISES: Mapping[str, Check] = {
    "mode `sse-s3`": partial(_supports, lambda _: SSES3()),
    "mode `sse-kms`": partial(_supports, lambda place: SSEKMS(place.kms_key)),
    "mode `dsse-kms`": partial(_supports, lambda place: DSSEKMS(place.kms_key)),
    "mode `sse-c`": partial(_supports, _sse_c),
    "mode `client`": partial(_supports, lambda _: _client()),
    "reads of ranges": _reads_ranges,
    "`put` returns the object's ETag: one request": partial(_knows_etag, SMALL),
    "`put` returns the object's ETag: parts": partial(_knows_etag, LARGE),
    "`if_absent` keeps what is there: one request": partial(_if_absent, SMALL, "PutObject"),
    "`if_absent` keeps what is there: parts": partial(_if_absent, LARGE, "CompleteMultipartUpload"),
    "rotation: small, key in the header": partial(_rotates, SMALL, "header", "re-encrypted"),
    "rotation: large, key in the header": partial(_rotates, LARGE, "header", "re-encrypted"),
    "rotation: small, key in the metadata": partial(_rotates, SMALL, "metadata", "rewrapped"),
    "rotation: large, key in the metadata": partial(_rotates, LARGE, "metadata", "rewrapped"),
    "rotation: `sse-s3` to `sse-kms`, copied": lambda place: _copies(
        place, SSES3(), SSEKMS(place.kms_key)
    ),
    "rotation: `sse-c` to another key, copied": lambda place: _copies(
        place, SSEC(_CUSTOMER_KEY), SSEC(_OTHER_CUSTOMER_KEY)
    ),
    "rotation keeps another writer's object: one request": partial(
        _rotation_keeps, SMALL, "header", "PutObject"
    ),
    "rotation keeps another writer's object: parts": partial(
        _rotation_keeps, LARGE, "header", "CompleteMultipartUpload"
    ),
    "rotation keeps another writer's object: copy": partial(
        _rotation_keeps, SMALL, "metadata", "CopyObject"
    ),
    "removal keeps another writer's object": _removal_keeps,
    "tags are kept, by a rotation too: one request": partial(_keeps_tags, SMALL),
    "tags are kept, by a rotation too: parts": partial(_keeps_tags, LARGE),
    "a changed body is refused: one request": partial(_refuses, "PutObject", SMALL, _flip_body),
    "a changed body is refused: a part": partial(_refuses, "UploadPart", LARGE, _flip_body),
    "a wrong checksum of the whole is refused": partial(
        _refuses, "CompleteMultipartUpload", LARGE, _flip_checksum
    ),
    "CRC-64/NVME of the whole is returned: one request": partial(_returns_checksum, SMALL),
    "CRC-64/NVME of the whole is returned: parts": partial(_returns_checksum, LARGE),
}


def check(place: Place, promise: str) -> Outcome:
    """Decide one promise on one server."""
    try:
        return PROMISES[promise](place)
    except S3CryptError as error:
        return Outcome(NO, because(error))
    except (ClientError, BotoCoreError) as error:
        return Outcome(NO, f"{type(error).__name__}: {error}")
