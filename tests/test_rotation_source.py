# SPDX-License-Identifier: Apache-2.0
"""A rotation to client-side encrypts only objects whose present mode the caller named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from relay import Answer, Asked, relaying
from samples import CUSTOMER_KEY, SERVER_SIDE, aes, connect, make_mode, stored

from s3crypt import SSEC, SSES3, ClientSide, PolicyError, RotationError, S3Crypt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from s3crypt.sandbox import Running

TO = ClientSide(aes())


def _silent(_: Asked, forward: Callable[[], Answer]) -> Answer:
    """Reply as a server that does not encrypt, and so reports no encryption."""
    answer = forward()
    for name in [name for name in answer.headers if name.startswith("x-amz-server-side-enc")]:
        del answer.headers[name]
    return answer


@pytest.fixture
def plain_client(sandbox: Running, session: Any) -> Iterator[Any]:
    """Return a client of a server that stores objects without encryption."""
    with relaying(sandbox.endpoint_url, _silent) as relay:
        yield session.client("s3", endpoint_url=relay.url)


@pytest.mark.parametrize("name", ["sse-s3", "sse-kms", "dsse-kms"])
@pytest.mark.parametrize("options", [{}, {"allow_unencrypted": True}])
def test_an_object_of_no_named_mode_is_not_sealed(
    name: str, options: dict[str, Any], bucket: str, kms_key: str, s3: Any
) -> None:
    """If the object's mode is not named, a rotation to client-side and its dry run are refused.

    The hint names the mode that the store needs.
    """
    uri = f"s3://{bucket}/x"
    connect(make_mode(name, kms_key)).put(b"planted", uri)
    calls: Any = (
        lambda: connect().rotate(uri, to=TO, **options),
        lambda: connect().rotate(uri, to=TO, dry_run=True, **options),
        lambda: connect().needs_rotation(uri, to=TO, **options),
    )
    for call in calls:
        with pytest.raises(PolicyError, match=f"stored as {name}, and no mode") as caught:
            call()
        assert f"set the store's mode: {name}" in str(caught.value.hint)
    assert stored(s3, bucket, "x") == b"planted"


@pytest.mark.parametrize("name", SERVER_SIDE)
def test_an_object_of_the_store_s_mode_is_sealed(name: str, bucket: str, kms_key: str) -> None:
    """The store's mode counts as named; an object in another mode is refused."""
    uri, mode = f"s3://{bucket}/x", make_mode(name, kms_key)
    connect(mode).put(b"plain", uri)
    other = make_mode("sse-kms" if name == "sse-s3" else "sse-s3", kms_key)
    if not isinstance(mode, SSEC):
        with pytest.raises(PolicyError, match=f"stored as {name}, not as {other.name}"):
            connect(other).rotate(uri, to=TO)
    assert connect(mode).needs_rotation(uri, to=TO)
    assert connect(mode).rotate(uri, to=TO)[0].action == "re-encrypted"
    assert connect(TO).read(uri) == b"plain"


def test_below_a_prefix_the_others_are_done(bucket: str, s3: Any) -> None:
    """Below a prefix, only the object whose mode is not named fails."""
    s3.put_object(Bucket=bucket, Key="p/a", Body=b"planted")
    connect(TO).put(b"sealed", f"s3://{bucket}/p/b")
    with pytest.raises(RotationError) as caught:
        connect().rotate(f"s3://{bucket}/p/", to=TO)
    outcomes: Any = caught.value.outcomes
    actions = {outcome.uri[-1]: outcome.action for outcome in outcomes}
    assert actions == {"a": "failed", "b": "unchanged"}
    assert stored(s3, bucket, "p/a") == b"planted"


def test_a_plain_object_is_sealed_where_that_is_allowed(
    bucket: str, s3: Any, plain_client: Any
) -> None:
    """With `allow_unencrypted`, plain objects are rotated to client-side.

    The store may have any mode.
    """
    uri = f"s3://{bucket}/x"
    for mode in (None, SSES3(), ClientSide(aes("old"))):
        s3.put_object(Bucket=bucket, Key="x", Body=b"plain")
        store = S3Crypt(mode, client=plain_client)
        with pytest.raises(PolicyError):
            store.rotate(uri, to=TO)
        with pytest.raises(PolicyError):
            store.needs_rotation(uri, to=TO)
        assert store.needs_rotation(uri, to=TO, allow_unencrypted=True)
        (planned,) = store.rotate(uri, to=TO, allow_unencrypted=True, dry_run=True)
        (done,) = store.rotate(uri, to=TO, allow_unencrypted=True)
        assert (planned.action, done.action) == ("re-encrypted", "re-encrypted")
        assert connect(TO).read(uri) == b"plain"


def test_the_refusal_of_a_plain_object_says_what_allows_it(
    bucket: str, s3: Any, plain_client: Any
) -> None:
    """The error for a plain object names `allow_unencrypted`: there is no mode to name."""
    s3.put_object(Bucket=bucket, Key="x", Body=b"plain")
    with pytest.raises(PolicyError, match="is not encrypted, and no mode") as caught:
        S3Crypt(client=plain_client).rotate(f"s3://{bucket}/x", to=TO)
    assert "allow_unencrypted" in str(caught.value.hint)


def test_what_is_allowed_of_plain_objects_is_not_of_sealed_ones(bucket: str) -> None:
    """`allow_unencrypted` does not open a client-side object, which still needs its keys."""
    uri = f"s3://{bucket}/x"
    connect(ClientSide(aes("old"))).put(b"sealed", uri)
    with pytest.raises(PolicyError, match="encrypted client-side"):
        connect().rotate(uri, to=TO, allow_unencrypted=True)


def test_between_modes_of_s3_none_need_be_named(bucket: str) -> None:
    """A rotation from one server-side mode to another needs no named mode."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(b"plain", uri)
    assert connect().rotate(uri, to=SSEC(CUSTOMER_KEY))[0].action == "copied"
