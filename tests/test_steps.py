# SPDX-License-Identifier: Apache-2.0
"""Steps of a rotation: they are decided without requests, pickled, and contain no secret."""

from __future__ import annotations

import pickle
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from samples import aes, connect, kms_keyring, payload

from s3crypt import SSEC, SSEKMS, SSES3, AESKeyring, ClientSide, S3Crypt, rotation
from s3crypt.location import Location
from s3crypt.rotation.looks import Job, look
from s3crypt.rotation.mechanisms import Done, act
from s3crypt.rotation.steps import Origin, Step

if TYPE_CHECKING:
    from conftest import RequestsLog

    from s3crypt import Mode

# Secrets that the modes contain. No pickled step may contain these bytes, in any encoding.
SECRETS = {
    "customer": b"a customer key of thirty-two byt",
    "old": b"an old wrapping key of 32 bytes.",
    "new": b"a new wrapping key of 32 bytes!!",
}


def _modes(kms_key: str) -> dict[str, Mode]:
    old = AESKeyring("planted", "old", SECRETS["old"])
    return {
        "sse-s3": SSES3(),
        "sse-kms": SSEKMS(kms_key),
        "sse-c": SSEC(SECRETS["customer"]),
        "header": ClientSide(old),
        "metadata": ClientSide(old, key_location="metadata"),
        "signed": ClientSide(old, signed=True),
        "kms metadata": ClientSide(kms_keyring(kms_key), key_location="metadata"),
    }


def _targets(key: str) -> dict[str, Mode]:
    new = AESKeyring("planted", "new", SECRETS["new"])
    return {
        "sse-kms": SSEKMS(key),
        "sse-c": SSEC(SECRETS["customer"][::-1]),
        "metadata": ClientSide(new, key_location="metadata"),
        "kms metadata": ClientSide(kms_keyring(key), key_location="metadata"),
    }


def _job(store: S3Crypt, to: Mode) -> Job:
    return rotation._job(store._objects, store.mode, to, Origin())


def _spellings(secret: bytes) -> list[bytes]:
    text = secret.hex()
    return [secret, text.encode(), text.upper().encode(), b64encode(secret).rstrip(b"=")]


@pytest.mark.parametrize("after", ["sse-kms", "sse-c", "metadata", "kms metadata"])
@pytest.mark.parametrize(
    "before", ["sse-s3", "sse-kms", "sse-c", "header", "metadata", "signed", "kms metadata"]
)
def test_a_step_travels_without_secrets_and_is_done_elsewhere(
    before: str, after: str, bucket: str, kms_key: str, new_key: str, requests_log: RequestsLog
) -> None:
    """A step is decided without a request, and another process can do it with its own keys."""
    source, to = _modes(kms_key)[before], _targets(new_key)[after]
    uri, data, store = f"s3://{bucket}/x", payload(300_000), connect(source)
    store.put(data, uri, metadata={"kind": "test"})
    job = _job(store, to)
    seen = look(job, Location.parse(uri))
    requests_log.clear()
    step = rotation._decide(job, seen)
    assert not requests_log.list()
    pickled = pickle.dumps(step)
    secrets = [*SECRETS.values(), SECRETS["customer"][::-1]]
    assert not [secret for secret in secrets for text in _spellings(secret) if text in pickled]
    loaded = pickle.loads(pickled)
    assert isinstance(loaded, Step)
    assert loaded == step
    assert loaded.action != "unchanged"
    # The other process would have its own modes, sessions and clients, so new ones are made.
    elsewhere = _job(connect(_modes(kms_key)[before]), _targets(new_key)[after])
    done = act(elsewhere, loaded)
    assert done.action == step.action
    assert done.bytes_moved == (len(data) if done.action == "re-encrypted" else 0)
    assert connect(to).read(uri) == data
    assert connect(to).inspect(uri, mode=to).metadata == {"kind": "test"}


def test_an_object_that_is_as_wanted_needs_no_step(bucket: str) -> None:
    """If the object already has the wanted mode and key, the step's action is "unchanged"."""
    mode = ClientSide(aes())
    store, uri = connect(mode), f"s3://{bucket}/x"
    before = store.put(b"data", uri)
    job = _job(store, mode)
    step = rotation._decide(job, look(job, Location.parse(uri)))
    assert step.action == "unchanged"
    assert act(job, step) == Done("unchanged")
    assert store.head(uri).etag == before.etag
