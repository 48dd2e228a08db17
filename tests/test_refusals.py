# SPDX-License-Identifier: Apache-2.0
"""Refusals about keys by services whose error texts differ from AWS's, and archived objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from relay import Answer, Asked, relaying
from samples import CUSTOMER_KEY, PART, aes, connect, payload

from s3crypt import (
    DSSEKMS,
    SSEC,
    SSEKMS,
    SSES3,
    ClientSide,
    KeyUnavailableError,
    S3CryptError,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from s3crypt import Mode
    from s3crypt.sandbox import Running


@pytest.fixture
def refusing(sandbox: Running) -> Iterator[Callable[..., Any]]:
    """Return a function that makes a store whose object requests are all refused in one way."""
    answers: list[Answer] = []

    def spoil(asked: Asked, _: Callable[..., Answer]) -> Answer:
        body = b"" if asked.method == "HEAD" else answers[-1].body
        return Answer(answers[-1].status, {}, body)

    with relaying(sandbox.endpoint_url, spoil) as relay:

        def store(mode: Mode | None, status: int, code: str, message: str = "") -> Any:
            body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
            answers.append(Answer(status, {}, body.encode()))
            return connect(mode, endpoint_url=relay.url)

        yield store


@pytest.mark.parametrize("kind", [SSEKMS, DSSEKMS])
@pytest.mark.parametrize("size", [1, PART + 1])
def test_a_key_that_the_services_own_kms_has_not(
    kind: type[SSEKMS | DSSEKMS], size: int, refusing: Callable[..., Any]
) -> None:
    """If a put gets NoSuchKey, as from Ceph, the error says that the KMS key is missing."""
    store = refusing(kind("own-name"), 404, "NoSuchKey")
    with pytest.raises(KeyUnavailableError) as caught:
        store.put(payload(size), "s3://acme/x")
    assert str(caught.value) == "s3://acme/x: the service has no KMS key own-name"
    assert "its own names of keys" in str(caught.value.hint)
    assert caught.value.code == "NoSuchKey"


def test_no_such_object_is_told_of_one_that_is_read(refusing: Callable[..., Any]) -> None:
    """If a read gets NoSuchKey, the error says that there is no such object."""
    with pytest.raises(FileNotFoundError, match="no such object"):
        refusing(SSEKMS("own-name"), 404, "NoSuchKey").read("s3://acme/x")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "InvalidAccessKeyId"),
        (400, "InvalidArgument"),
        (400, "KMS.NotFoundException"),
    ],
)
def test_a_put_that_the_services_own_kms_refuses(
    status: int, code: str, refusing: Callable[..., Any]
) -> None:
    """If the service refuses a put, the hint says that it may lack the KMS key.

    The hint does not say so for a key given by ARN, because an ARN names a key of AWS KMS.
    """
    with pytest.raises(S3CryptError) as caught:
        refusing(SSEKMS("own-name"), status, code).put(b"x", "s3://acme/x")
    assert "Or the service has no KMS key own-name." in str(caught.value.hint)
    arn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    with pytest.raises(S3CryptError) as caught:
        refusing(SSEKMS(arn), status, code).put(b"x", "s3://acme/x")
    assert "own names" not in str(caught.value.hint)


def test_a_read_for_which_the_services_own_kms_has_no_key(refusing: Callable[..., Any]) -> None:
    """If Ceph's KMS has lost the object's key, the hint says so, and asks for no customer key."""
    said = "Failed to retrieve the actual key, kms-keyid: own-name"
    with pytest.raises(StorageError) as caught:
        refusing(None, 400, "InvalidArgument", said).read("s3://acme/x")
    assert caught.value.hint == "The service could not get the object's key from its own KMS."


@pytest.mark.parametrize(
    ("mode", "hint"),
    [
        (SSEC(CUSTOMER_KEY), "The customer key may be wrong, or the object"),
        (SSES3(), "which needs its customer key"),
        (None, "which needs its customer key"),
    ],
)
@pytest.mark.parametrize("verb", ["read", "head"])
def test_a_wrong_customer_key_on_ceph(
    verb: str, mode: Mode | None, hint: str, refusing: Callable[..., Any]
) -> None:
    """Ceph's status 400 for a missing, wrong or superfluous customer key gets the right hint."""
    store = refusing(mode, 400, "InvalidArgument")
    with pytest.raises(StorageError) as caught:
        getattr(store, verb)("s3://acme/x")
    assert hint in str(caught.value.hint)


def test_customer_keys_that_are_not_taken(refusing: Callable[..., Any]) -> None:
    """The hint for a refused put with SSE-C names https://; a refused put in SSE-S3 has no hint."""
    with pytest.raises(StorageError) as caught:
        refusing(SSEC(CUSTOMER_KEY), 400, "InvalidRequest").put(b"x", "s3://acme/x")
    assert "customer keys only by https://" in str(caught.value.hint)
    with pytest.raises(StorageError) as caught:
        refusing(SSES3(), 400, "InvalidRequest").put(b"x", "s3://acme/x")
    assert caught.value.hint is None


@pytest.mark.parametrize(
    "verb",
    [
        lambda store, uri: store.read(uri),
        lambda store, uri: store.open(uri),
        lambda store, uri: store.inspect(uri),
        lambda store, uri: store.copy(uri, f"{uri}-copy"),
        lambda store, uri: store.rotate(uri, to=ClientSide(aes())),
    ],
)
def test_an_archived_object_is_called_so(verb: Callable[..., Any], bucket: str) -> None:
    """A read of an archived object says that it is archived; the hint is to restore it."""
    store, uri = connect(SSES3()), f"s3://{bucket}/x"
    store.put(b"x", uri, storage_class="GLACIER")
    with pytest.raises(StorageError, match="the object is archived") as caught:
        verb(store, uri)
    assert "restore-object" in str(caught.value.hint)
