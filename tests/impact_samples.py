# SPDX-License-Identifier: Apache-2.0
"""A generated bucket in all modes, and the true number of versions that depend on one key."""

from __future__ import annotations

import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3

from s3crypt import SSEC, AESKeyring, ClientSide, KMSKeyring, MultiKeyring, S3Crypt
from s3crypt.impact import find_dependents

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from s3crypt import Keyring
    from s3crypt.impact import Report

AES = AESKeyring("tests", "one", random.Random("one").randbytes(32))
CUSTOMER_KEY = SSEC(bytes(range(32)))
CIPHERTEXT = b"\x07\xc1\x00" + random.Random(1).randbytes(300)
# Kind of a version -> its mode, and its dependency on the key: `only`, `shared`, `other` or
# `unknown`. For `other` and `unknown` the mode is empty.
MEANINGS: dict[str, tuple[str, str]] = {
    "sse-kms": ("sse-kms", "only"),
    "sse-kms, archived": ("sse-kms", "only"),
    "dsse-kms": ("dsse-kms", "only"),
    "header": ("client (header)", "only"),
    "header in sse-kms": ("sse-kms", "only"),
    "header in sse-kms of another key": ("client (header)", "only"),
    "metadata": ("client (metadata)", "only"),
    "metadata, archived": ("client (metadata)", "only"),
    "s3ec by arn": ("s3ec", "only"),
    "s3ec by id": ("s3ec", "only"),
    "two KMS keys": ("client (header)", "shared"),
    "KMS and AES": ("client (metadata)", "shared"),
    "AES": ("", "other"),
    "another KMS key": ("", "other"),
    "sse-kms of another key": ("", "other"),
    "sse-s3": ("", "other"),
    "s3ec, raw": ("", "other"),
    "s3ec, kms+context": ("", "unknown"),
    "sse-c": ("", "unknown"),
    "archived": ("", "unknown"),
}


@dataclass
class Truth:
    """The true content of a bucket.

    Attributes:
        versions: The number of versions by mode and meaning.
        objects: The number of current versions by mode and meaning.
        stored_bytes: The number of their bytes by mode and meaning.
    """

    versions: Counter[tuple[str, str]] = field(default_factory=Counter)
    objects: Counter[tuple[str, str]] = field(default_factory=Counter)
    stored_bytes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, meaning: str) -> int:
        """Return the number of versions with this dependency on the key."""
        return sum(count for (_, each), count in self.versions.items() if each == meaning)


def impact(key: str, *uris: str, **options: Any) -> Report:
    """Return the report on the objects that depend on a key."""
    return find_dependents(key, uris, session=boto3.Session(), **options)


def found_in(report: Report, what: str) -> dict[tuple[str, str], int]:
    """Return a report's numbers of `what`, such as `versions`, by mode and dependency.

    Zeros are left out.
    """
    return {
        (group.mode, kind): count
        for group in report.groups
        for kind in ("only", "shared", "replica")
        if (count := getattr(getattr(group, kind), what))
    }


class Maker:
    """Stores versions of all kinds.

    Args:
        s3: The client.
        bucket: The bucket.
        key: The ARN of the key.
        other: The ARN of another KMS key.
    """

    def __init__(self, s3: Any, bucket: str, key: str, other: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._key, self._other = key, other
        mine, others = KMSKeyring(key), KMSKeyring(other)
        two, with_aes = MultiKeyring(mine, others), MultiKeyring(mine, AES)
        self._stored = {
            "header": self._sealed(mine),
            "metadata": self._sealed(mine, "metadata"),
            "two KMS keys": self._sealed(two),
            "KMS and AES": self._sealed(with_aes, "metadata"),
            "AES": self._sealed(AES),
            "another KMS key": self._sealed(others),
        }

    def _sealed(self, keyring: Keyring, where: Any = "header") -> dict[str, Any]:
        """Return the body and metadata of an object sealed by this keyring."""
        mode = ClientSide(keyring, key_location=where)
        S3Crypt(mode).put(b"plain", f"s3://{self._bucket}/sealed")
        found = self._s3.get_object(Bucket=self._bucket, Key="sealed")
        body, metadata = found["Body"].read(), found["Metadata"]
        for each in self._s3.list_object_versions(Bucket=self._bucket)["Versions"]:
            self._s3.delete_object(Bucket=self._bucket, Key="sealed", VersionId=each["VersionId"])
        return {"Body": body, "Metadata": metadata}

    def put(self, name: str, kind: str, size: int) -> int:
        """Store a version; return the number of its bytes."""
        arguments = self._arguments(kind, size)
        self._s3.put_object(Bucket=self._bucket, Key=name, **arguments)
        return len(arguments["Body"])

    def _arguments(self, kind: str, size: int) -> dict[str, Any]:
        plain, glacier = {"Body": bytes(size)}, {"StorageClass": "GLACIER"}
        kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._key}
        others = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._other}
        made: dict[str, Callable[[], dict[str, Any]]] = {
            "sse-kms": lambda: {**plain, **kms},
            "sse-kms, archived": lambda: {**plain, **kms, **glacier},
            "dsse-kms": lambda: {**plain, **kms, "ServerSideEncryption": "aws:kms:dsse"},
            "header in sse-kms": lambda: {**self._stored["AES"], **kms},
            "header in sse-kms of another key": lambda: {**self._stored["header"], **others},
            "metadata, archived": lambda: {**self._stored["metadata"], **glacier},
            "s3ec by arn": lambda: _s3ec(wrap="kms", key=self._key),
            "s3ec by id": lambda: _s3ec(wrap="kms", key=self._key.rpartition("/")[2]),
            "s3ec, raw": lambda: _s3ec(wrap="AES/GCM"),
            "s3ec, kms+context": lambda: _s3ec(wrap="kms+context"),
            "sse-kms of another key": lambda: {**plain, **others},
            "sse-s3": lambda: plain,
            "sse-c": lambda: {**plain, **CUSTOMER_KEY.write_arguments()},
            "archived": lambda: {**plain, **glacier},
        }
        return made[kind]() if kind in made else self._stored[kind]


def _s3ec(*, wrap: str, key: str | None = None) -> dict[str, Any]:
    metadata = {
        "x-amz-key-v2": "a" * 60,
        "x-amz-iv": "a" * 16,
        "x-amz-matdesc": json.dumps({"kms_cmk_id": key} if key else {}),
        "x-amz-wrap-alg": wrap,
        "x-amz-cek-alg": "AES/GCM/NoPadding",
    }
    return {"Body": CIPHERTEXT, "Metadata": metadata}


def fill(
    maker: Maker, s3: Any, bucket: str, count: int, *, kinds: Sequence[str] = tuple(MEANINGS)
) -> Truth:
    """Fill a versioned bucket with this many versions, some of which are not current.

    For a tenth of the names the newest entry is a delete marker, which does not count as a version.
    """
    choice, truth = random.Random(count), Truth()
    # Each name has its versions in order, and every kind occurs at least once.
    names: dict[str, list[tuple[str, int]]] = {}
    for number in range(count):
        kind = kinds[number] if number < len(kinds) else choice.choice(kinds)
        name = f"{choice.choice('abc')}/{number if choice.random() < 0.7 else number // 5:05}"
        names.setdefault(name, []).append((kind, choice.randrange(1, 2000)))
    deleted = {name for name in names if choice.random() < 0.1}

    def store(name: str) -> list[tuple[str, int, bool]]:
        kinds = names[name]
        made = [(kind, maker.put(name, kind, size), False) for kind, size in kinds]
        if name in deleted:
            s3.delete_object(Bucket=bucket, Key=name)
            return made
        return [*made[:-1], (*made[-1][:2], True)]

    with ThreadPoolExecutor(4) as pool:
        for kind, size, is_latest in (each for made in pool.map(store, names) for each in made):
            meaning = MEANINGS[kind]
            truth.versions[meaning] += 1
            truth.objects[meaning] += is_latest
            truth.stored_bytes[meaning] += size
    return truth


def depends(counter: Counter[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Return the counts of versions that depend on the key, without zeros."""
    return {
        meaning: count
        for meaning, count in counter.items()
        if meaning[1] in ("only", "shared", "replica") and count
    }
