# SPDX-License-Identifier: Apache-2.0
"""Services with their own KMS, such as Ceph and MinIO: their keys are not looked up in AWS."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from relay import Answer, Asked, relaying
from samples import aes, connect, kms_calls

from s3crypt import DSSEKMS, SSEKMS, SSES3, ClientSide, PolicyError, S3Crypt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import RequestsLog

    from s3crypt.sandbox import Running

KEY_HEADER = "x-amz-server-side-encryption-aws-kms-key-id"
NAME, MINIO_PREFIX = "ledger-2026", "arn:aws:kms:"
# A key id as Ceph has it from Barbican: it has the form of an AWS key id.
ID = "6f1c4a0e-8b57-4d3c-9a53-0d1f2e3a4b5c"


@contextmanager
def own_kms(sandbox: Running, arn: str, name: str, *, prefix: str = "") -> Iterator[str]:
    """Run a relay in front of S3 whose own KMS knows the key by this name. Yield its URL.

    The service reports the name with the prefix, and accepts it with or without the prefix.
    """

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        wanted = asked.headers.get(KEY_HEADER)
        if wanted is not None:
            if wanted.removeprefix(prefix) != name:
                return Answer(400, {}, b"<Error><Code>InvalidArgument</Code></Error>")
            asked.headers[KEY_HEADER] = arn
        answer = forward()
        if KEY_HEADER in answer.headers:
            answer.headers[KEY_HEADER] = f"{prefix}{name}"
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        yield relay.url


def _kms_clients(*stores: S3Crypt) -> list[Any]:
    return [client for store in stores for client in store._objects.keys._kms._clients.values()]


def _use_kms_of_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let KMS clients use the address of AWS, which a test must not reach."""
    for name in [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")]:
        monkeypatch.delenv(name)
    # The shared session of samples.py already read the old environment, so it is replaced.
    monkeypatch.setattr("samples._session", boto3.Session)


@pytest.fixture(params=["of AWS", "of the endpoint"])
def kms_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with KMS at the address of AWS, and with KMS at the sandbox's address."""
    if request.param == "of AWS":
        _use_kms_of_aws(monkeypatch)


@pytest.mark.usefixtures("kms_place")
@pytest.mark.parametrize(
    ("kind", "prefix"), [(SSEKMS, ""), (DSSEKMS, MINIO_PREFIX)], ids=["ceph", "minio"]
)
def test_keys_of_a_services_own_kms_are_not_asked_for(
    kind: Callable[[str], SSEKMS | DSSEKMS],
    prefix: str,
    bucket: str,
    key: str,
    sandbox: Running,
    requests_log: RequestsLog,
) -> None:
    """With a key of the service's own KMS, no operation makes a request to AWS KMS."""
    mode, uri = kind(NAME), f"s3://{bucket}/x"
    with own_kms(sandbox, key, NAME, prefix=prefix) as url:
        store = connect(mode, endpoint_url=url)
        store.put(b"plain", uri)
        assert store.read(uri) == b"plain"
        assert connect(kind(f"{MINIO_PREFIX}{NAME}"), endpoint_url=url).read(uri) == b"plain"
        others = connect(ClientSide(aes()), endpoint_url=url)
        others.put(b"secret", f"s3://{bucket}/y")
        (outcome,) = others.rotate(f"s3://{bucket}/y", to=mode)
        assert outcome.action == "re-encrypted"
        assert not store.needs_rotation(f"s3://{bucket}/y", to=mode)
        assert store.rotate(uri, to=mode)[0].action == "unchanged"
        assert store.read(f"s3://{bucket}/y") == b"secret"
    assert _kms_clients(store, others) == []
    assert kms_calls(requests_log) == []


def test_another_key_of_the_service_is_refused(bucket: str, key: str, sandbox: Running) -> None:
    """An object under one key of the service is refused by a store with another key name."""
    uri = f"s3://{bucket}/x"
    with own_kms(sandbox, key, NAME) as url:
        connect(SSEKMS(NAME), endpoint_url=url).put(b"plain", uri)
        for other in ("ledger-2027", "alias/ledger", f"{MINIO_PREFIX}{NAME}x", key, ID):
            with pytest.raises(PolicyError, match=f"under {NAME}, not under"):
                connect(SSEKMS(other), endpoint_url=url).read(uri)


def test_a_name_in_the_form_of_aws_ids_is_not_asked_for_at_aws(
    bucket: str, key: str, sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key name in the form of an AWS key id is not looked up in AWS KMS."""
    _use_kms_of_aws(monkeypatch)
    mode, uri = SSEKMS(ID), f"s3://{bucket}/x"
    with own_kms(sandbox, key, ID) as url:
        store = connect(SSES3(), endpoint_url=url)
        store.put(b"plain", uri)
        assert store.rotate(uri, to=mode)[0].action == "copied"
        assert store.rotate(uri, to=mode)[0].action == "unchanged"


def test_an_id_of_a_kms_beside_the_service_is_resolved(
    bucket: str, key: str, kms: Any, requests_log: RequestsLog
) -> None:
    """If the caller's KMS requests go to a KMS that is not AWS's, it resolves ids and aliases."""
    kms.create_alias(AliasName=f"alias/{bucket}", TargetKeyId=key)
    store, uri = connect(SSES3()), f"s3://{bucket}/x"
    store.put(b"plain", uri)
    store.rotate(uri, to=SSEKMS(key))
    requests_log.clear()
    for name in (key.rpartition("/")[2], f"alias/{bucket}"):
        assert store.rotate(uri, to=SSEKMS(name))[0].action == "unchanged"
    assert kms_calls(requests_log) == ["DescribeKey", "DescribeKey"]
