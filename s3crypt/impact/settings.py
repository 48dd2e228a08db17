# SPDX-License-Identifier: Apache-2.0
"""Settings that name the key: of buckets, table buckets, tables, vector buckets and indexes.

A setting that the caller has no permission to read is counted as unknown. A setting names a key by
its ARN, by its id or by an alias. An alias stands for the key to which it points now.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from botocore.client import BaseClient

from s3crypt.aws_errors import ends_everything
from s3crypt.buckets import configuration, inventory_destinations
from s3crypt.buckets.settings import AES256, Encryption, Replication
from s3crypt.errors import ObjectNotFoundError, S3CryptError
from s3crypt.location import Location
from s3crypt.requests import Reply, call, pages

from .report import Setting
from .services import Services
from .tallying import Tally
from .target import KeyNames, Target

T = TypeVar("T")

_INVENTORIES = "s3:GetInventoryConfiguration"
# Error codes of a service that does not support an operation.
_UNSUPPORTED = frozenset({"MethodNotAllowed", "NotImplemented"})
_REFUSED = frozenset({"403", "AccessDenied", "AccessDeniedException"})


@dataclass(frozen=True, slots=True)
class SettingsReader:
    """Reads settings, and adds each setting that names the key to a tally.

    Attributes:
        services: The clients.
        target: The key.
        names: Returns the ARNs of the keys that settings name.
        tally: The counts of the walk.
    """

    services: Services
    target: Target
    names: KeyNames
    tally: Tally

    def read_bucket(self, bucket: str, region: str) -> None:
        """Read the settings of a bucket.

        Raises:
            ObjectNotFoundError: The bucket does not exist any more.
            S3CryptError: The request failed for a reason that would make every other request fail,
                too.
        """
        client, uri = self.services.s3(region), f"s3://{bucket}/"
        encryption = self._read(
            Encryption.ACTION, uri, lambda: configuration.read(client, bucket, Encryption)
        )
        if encryption is not None and encryption.algorithm != AES256:
            self._check("default encryption", uri, encryption.key, region)
        if Location(bucket, "").is_in_directory_bucket:
            # A directory bucket has neither replication rules nor inventories.
            return
        replication = self._read(
            Replication.ACTION, uri, lambda: configuration.read(client, bucket, Replication)
        )
        for rule in replication.enabled if replication else ():
            self._check("replication", uri, _replica_key(rule), region)
        found = self._read(_INVENTORIES, uri, lambda: inventory_destinations(client, bucket))
        for key in found or ():
            self._check("inventory", uri, key, region)

    def read_tables(self) -> None:
        """Read the encryption of all table buckets and tables in the key's Region."""
        client = self.services.tables(self.target.region)
        place = f"S3 Tables of {self.target.region}"
        found = partial(_entries, client, "list_table_buckets", "tableBuckets", {}, place)
        for bucket in self._listed("s3tables:ListTableBuckets", place, found):
            self._read_table_bucket(client, str(bucket["arn"]))

    def _read_table_bucket(self, client: BaseClient, arn: str) -> None:
        request = {"tableBucketARN": arn}
        self._check_encryption(
            "table bucket",
            "s3tables:GetTableBucketEncryption",
            arn,
            lambda: call(client, "get_table_bucket_encryption", request, arn),
        )
        found = partial(_entries, client, "list_tables", "tables", request, arn)
        for table in self._listed("s3tables:ListTables", arn, found):
            one = {**request, "namespace": table["namespace"][0], "name": table["name"]}
            name = str(table["tableARN"])
            read = partial(call, client, "get_table_encryption", one, name)
            self._check_encryption("table", "s3tables:GetTableEncryption", name, read)

    def read_vectors(self) -> None:
        """Read the encryption of all vector buckets and their indexes in the key's Region."""
        client = self.services.vectors(self.target.region)
        place = f"S3 Vectors of {self.target.region}"
        found = partial(_entries, client, "list_vector_buckets", "vectorBuckets", {}, place)
        for bucket in self._listed("s3vectors:ListVectorBuckets", place, found):
            self._read_vector_bucket(client, str(bucket["vectorBucketArn"]))

    def _read_vector_bucket(self, client: BaseClient, arn: str) -> None:
        request = {"vectorBucketArn": arn}
        self._check_encryption(
            "vector bucket",
            "s3vectors:GetVectorBucket",
            arn,
            lambda: call(client, "get_vector_bucket", request, arn)["vectorBucket"],
        )
        found = partial(_entries, client, "list_indexes", "indexes", request, arn)
        for index in self._listed("s3vectors:ListIndexes", arn, found):
            name = str(index["indexArn"])
            read = partial(_index, client, name)
            self._check_encryption("vector index", "s3vectors:GetIndex", name, read)

    def _listed(
        self, action: str, subject: str, entries: Callable[[], Iterator[Mapping[str, Any]]]
    ) -> Sequence[Mapping[str, Any]]:
        """Return the entries of a list.

        If the list cannot be read, count it as unknown and return ().
        """
        try:
            return self._read(action, subject, lambda: list(entries())) or ()
        except ObjectNotFoundError:
            # A server without S3 Tables or S3 Vectors takes the request's path for an object's
            # name, so it replies that the object does not exist.
            hidden = f"the service does not have the operation of {action}"
            self.tally.add_unknown("setting", hidden, subject)
            return ()

    def _check_encryption(
        self, kind: str, action: str, arn: str, read: Callable[[], Reply]
    ) -> None:
        """Add the encryption of a table or a vector index to the tally if it names the key.

        A table or an index without its own encryption setting is skipped.
        """
        try:
            found = self._read(action, arn, read)
        except ObjectNotFoundError:
            return
        encryption = (found or {}).get("encryptionConfiguration") or {}
        self._check(kind, arn, encryption.get("kmsKeyArn"), self.target.region)

    def _check(self, kind: str, resource: str, key: str | None, region: str) -> None:
        """Add a setting to the tally if it names the key.

        Count it as unknown if its key is unknown.
        """
        if key is None:
            return
        arn = self.names.arn_of(key, region, self.services.account)
        if not isinstance(arn, str):
            if arn.hidden:
                self.tally.add_unknown("setting", arn.hidden, resource, denied=arn.denied)
        elif self.target.is_named_by(arn):
            self.tally.settings.append(Setting(kind, resource))

    def _read(self, action: str, subject: str, read: Callable[[], T]) -> T | None:
        """Return a setting. Return None if it does not exist.

        If the setting cannot be read, count it as unknown and return None.
        """
        try:
            return read()
        except ObjectNotFoundError:
            raise
        except S3CryptError as error:
            if ends_everything(error):
                raise
            if error.code == "NotFoundException":
                return None
            denied = (action,) if error.code in _REFUSED else ()
            if denied:
                hidden = "it may not be read"
            elif error.code in _UNSUPPORTED:
                hidden = f"the service does not have the operation of {action}"
            else:
                hidden = f"it failed ({error.code or type(error).__name__})"
            self.tally.add_unknown("setting", hidden, subject, denied=denied)
            return None


def _replica_key(rule: Mapping[str, Any]) -> str | None:
    """Return the KMS key with which a replication rule encrypts replicas, or None."""
    destination = rule.get("Destination") or {}
    key = (destination.get("EncryptionConfiguration") or {}).get("ReplicaKmsKeyID")
    return str(key) if key else None


def _index(client: BaseClient, arn: str) -> Reply:
    found: Reply = call(client, "get_index", {"indexArn": arn}, arn)["index"]
    return found


def _entries(
    client: BaseClient, operation: Any, field: str, request: Mapping[str, Any], subject: str
) -> Iterator[Mapping[str, Any]]:
    for page in pages(client, operation, request, subject):
        yield from page.get(field) or ()
