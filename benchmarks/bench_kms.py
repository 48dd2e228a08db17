# SPDX-License-Identifier: Apache-2.0
"""How many requests to KMS do 1,000 objects take, with and without cached data keys?

The requests are counted in the sandbox's log. The sandbox takes most of the measured seconds. AWS's
KMS takes some milliseconds per request, and bills each one.
"""

from __future__ import annotations

import http.client
import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import pytest

from s3crypt import CachingKeyring, ClientSide, Keyring, KMSKeyring, S3Crypt
from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from suite import Measure


OBJECTS = 1_000
TINY_OBJECTS = 4
MAX_MESSAGES = 100
_AGE = 3600

KEYRINGS = ("KMS", "cached", f"cached, {MAX_MESSAGES} messages a key")


def _keyring(name: str, key: str) -> Keyring:
    kms = KMSKeyring(key)
    if name == "KMS":
        return kms
    if name == "cached":
        return CachingKeyring(kms, max_age=_AGE)
    return CachingKeyring(kms, max_age=_AGE, max_messages=MAX_MESSAGES)


def _requests(sandbox: sandboxes.Running, method: str = "GET") -> list[dict[str, Any]]:
    address = urlsplit(sandbox.endpoint_url).netloc
    with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        token = {sandboxes.TOKEN_HEADER: sandbox.token}
        connection.request(method, "/_s3crypt/requests", headers=token)
        listed: list[dict[str, Any]] = json.loads(connection.getresponse().read() or b"[]")
        return listed


def _kms_calls(sandbox: sandboxes.Running) -> int:
    """Return the number of requests to KMS since the last call, and clear the log.

    The log holds the last 10,000 requests of all kinds.
    """
    asked = [each for each in _requests(sandbox) if "x-amz-target" in each["headers"]]
    _requests(sandbox, "DELETE")
    return len(asked)


@pytest.mark.parametrize("keyring_name", KEYRINGS)
def bench_objects(
    measure: Measure, sandbox: sandboxes.Running, tiny: bool, keyring_name: str
) -> None:
    """Put small objects, then get them with a new store, as another process would."""
    session = boto3.Session()
    session.client("s3").create_bucket(Bucket="benchmark-kms")
    key = session.client("kms").create_key()["KeyMetadata"]["Arn"]
    uris = [f"s3://benchmark-kms/{n}" for n in range(TINY_OBJECTS if tiny else OBJECTS)]
    figures: dict[str, list[float]] = {"put": [], "get": [], "put_calls": [], "get_calls": []}

    def objects() -> None:
        for verb in ("put", "get"):
            mode = ClientSide(_keyring(keyring_name, key), bind_name=False)
            store = S3Crypt(mode, session=session)
            _kms_calls(sandbox)
            started = time.perf_counter()
            for uri in uris:
                if verb == "put":
                    store.put(b"", uri)
                else:
                    store.read(uri)
            figures[verb].append(time.perf_counter() - started)
            figures[f"{verb}_calls"].append(_kms_calls(sandbox))

    measure(
        objects,
        before=lambda: None,
        group=f"{len(uris)} objects",
        rounds=1,
        objects=len(uris),
        keyring=keyring_name,
        figures=figures,
    )
