# SPDX-License-Identifier: Apache-2.0
"""Keyrings of AWS KMS keys. The keys never leave KMS; the keyrings store KMS's blobs in EDKs.

Source: aws-encryption-sdk-specification, framework/aws-kms/{aws-kms,aws-kms-discovery}-keyring.md.
"""

import copy
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from s3crypt.aws import Clients
from s3crypt.errors import ConfigError, S3CryptError
from s3crypt.message.keys import DataKey, EncryptedDataKey, Keyring

from .edks import INCORRECT_KEY, KMS_PROVIDER, heavier, not_named, unopened
from .kms_key import KeyARN, KMSBlob, KMSKey

if TYPE_CHECKING:
    import boto3
    from types_boto3_kms.client import KMSClient

# The maximum length of a blob for kms:Decrypt.
_MAX_BLOB_LENGTH = 6144


class KMSKeyring:
    """Wraps data keys with one AWS KMS key. The key never leaves KMS.

    Writing makes one GenerateDataKey or Encrypt request per message, and reading makes one Decrypt
    request. Every Decrypt request names the key, so a message cannot choose another key for the
    reader. A multi-Region key unwraps data keys that any key of its set wrapped.

    Args:
        key: The key's ARN, id, alias (`alias/reports`) or alias ARN. A prefix `kms:` is permitted.
            Headers of messages contain the key's ARN.
        session: The boto3 session from which KMS clients are made. None for the session of the
            store that uses the keyring, or else for boto3's default session.
        client: A KMS client to use instead of making one.
        allow_plain_http: Allow requests to other machines over plain HTTP, although they contain
            data keys.
        grant_tokens: The tokens of new grants, at most ten. They are sent with every request about
            the key, because a grant may take up to five minutes to reach all of KMS.

    Raises:
        ConfigError: The text cannot be the name of a KMS key.
    """

    def __init__(
        self,
        key: str,
        *,
        session: "boto3.Session | None" = None,
        client: "KMSClient | None" = None,
        allow_plain_http: bool = False,
        grant_tokens: Sequence[str] = (),
    ) -> None:
        key = key.removeprefix("kms:") if isinstance(key, str) else ""
        clients = Clients("kms", session=session, client=client, allow_plain_http=allow_plain_http)
        self._key = KMSKey(key, clients, grant_tokens)

    @classmethod
    def discovery(
        cls,
        *,
        accounts: Collection[str],
        partition: str = "aws",
        regions: Collection[str] | None = None,
        session: "boto3.Session | None" = None,
        allow_plain_http: bool = False,
    ) -> "DiscoveryKeyring":
        """Return a keyring that unwraps data keys of every KMS key in these accounts.

        Args:
            accounts: The ids of the accounts whose keys are trusted. An id has twelve digits.
            partition: `aws`, `aws-cn` or `aws-us-gov`.
            regions: The Regions to which requests are sent. If None, the Region in each message is
                used, if botocore knows it as a Region of the partition; a Region that botocore does
                not know yet must be named here. For a multi-Region key in another Region, the
                request is sent to the first of these Regions.
            session: The boto3 session from which KMS clients are made, as for `KMSKeyring`.
            allow_plain_http: Allow requests over plain HTTP, as for `KMSKeyring`.
        """
        clients: Clients[KMSClient] = Clients(
            "kms", session=session, allow_plain_http=allow_plain_http
        )
        for region in regions or ():
            _check_region(region, partition, clients)
        return DiscoveryKeyring(tuple(accounts), partition, tuple(regions or ()), clients)

    def __repr__(self) -> str:
        return f"KMSKeyring({self.key!r})"

    @property
    def key(self) -> str:
        """The key's name as the caller gave it: its ARN, id or alias."""
        return self._key.name

    @property
    def arn(self) -> str:
        """The key's ARN. An alias or id is resolved each time, which needs kms:DescribeKey."""
        return self._key.arn

    @property
    def client(self) -> "KMSClient":
        """The KMS client of the key's Region."""
        return self._key.client

    def with_resolved_aliases(self) -> "KMSKeyring":
        """Return a keyring for the key to which the alias points now.

        Later changes have no effect.
        """
        return self._with(self._key.resolved())

    def with_session(self, session: "boto3.Session") -> "KMSKeyring":
        """Return a copy that uses `session`.

        If this keyring has a session or a client, return it.
        """
        clients = self._key.clients
        if not clients.are_of_the_default_session:
            return self
        return self._with(replace(self._key, clients=clients.with_session(session)))

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a data key generated by KMS."""
        plaintext, wrapped = self._key.generate(length, context)
        return DataKey(plaintext, (_edk(wrapped),))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key encrypted by KMS."""
        return (_edk(self._key.wrap(data_key, context)),)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first EDK that KMS unwraps with this key.

        Raises:
            IntegrityError: KMS refused the wrapped key or its context.
            KeyUnavailableError: No EDK names this key, or KMS refused the request.
            StorageError: KMS could not be reached.
        """
        candidates = [(self._key, edk) for edk in edks if self.opens(edk)]
        return _first_opened(candidates, context, length, edks)

    def rewrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], *, source: Keyring
    ) -> tuple[EncryptedDataKey, ...] | None:
        """Return the data key of `source`'s EDK wrapped under this key, by kms:ReEncrypt.

        The data key never leaves KMS. The result is None if KMS cannot rewrap: `source` has no KMS
        key in this Region, no EDK names the key of `source`, or both keys together have too many
        grant tokens for one request.
        """
        if not isinstance(source, KMSKeyring):
            return None
        edk = next(filter(source.opens, edks), None)
        if edk is None or not self._key.is_reachable_from(source._key):  # noqa: SLF001 - same class
            return None
        wrapped = self._key.rewrap(edk.ciphertext, context, source=source._key)  # noqa: SLF001
        return (_edk(wrapped),)

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether there is exactly one EDK, and it names this key."""
        return (
            len(edks) == 1
            and edks[0].provider == KMS_PROVIDER
            and edks[0].info.decode(errors="replace") == self.arn
        )

    def opens(self, edk: EncryptedDataKey) -> bool:
        """Return whether this key, or a key of its multi-Region set, may have wrapped the EDK."""
        arn = _edk_arn(edk)
        return arn is not None and self._key.may_be(arn)

    def _with(self, key: KMSKey) -> "KMSKeyring":
        if key is self._key:
            return self
        keyring = copy.copy(self)
        keyring._key = key  # noqa: SLF001 - same class
        return keyring


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class DiscoveryKeyring:
    """Unwraps the data keys of every KMS key in some accounts. It cannot wrap data keys.

    `KMSKeyring.discovery` documents the attributes.
    """

    accounts: tuple[str, ...]
    partition: str
    regions: tuple[str, ...]
    _clients: "Clients[KMSClient]" = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.accounts or not all(re.fullmatch(r"[0-9]{12}", a) for a in self.accounts):
            raise ConfigError("Discovery needs the twelve-digit ids of the trusted accounts.")

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Raise a ConfigError: a discovery keyring only reads."""
        raise ConfigError(_READ_ONLY, hint=_READ_ONLY_HINT)

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Raise a ConfigError: a discovery keyring only reads."""
        raise ConfigError(_READ_ONLY, hint=_READ_ONLY_HINT)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key of the first EDK that KMS unwraps.

        Only EDKs of keys in trusted accounts are tried.
        """
        candidates = []
        for edk in edks:
            arn = _edk_arn(edk)
            if arn and self._trusts(arn):
                region = self._region(arn)
                key = edk.info.decode().replace(f":{arn.region}:", f":{region}:", 1)
                candidates.append((KMSKey(key, self._clients), edk))
        return _first_opened(candidates, context, length, edks)

    def opens(self, edk: EncryptedDataKey) -> bool:
        """Return whether the EDK names a key of a trusted account."""
        arn = _edk_arn(edk)
        return arn is not None and self._trusts(arn)

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Raise a ConfigError: a discovery keyring only reads."""
        raise ConfigError(_READ_ONLY, hint=_READ_ONLY_HINT)

    def with_session(self, session: "boto3.Session") -> "DiscoveryKeyring":
        """Return a copy that uses `session`. If this keyring has a session, return it."""
        if not self._clients.are_of_the_default_session:
            return self
        return replace(self, _clients=self._clients.with_session(session))

    def _trusts(self, arn: KeyARN) -> bool:
        return (
            arn.kind == "key"
            and arn.partition == self.partition
            and arn.account in self.accounts
            and self._trusts_region(arn)
        )

    def _trusts_region(self, arn: KeyARN) -> bool:
        if self.regions:
            return arn.region in self.regions or arn.id.startswith("mrk-")
        # Messages are untrusted. A message must not cause a request to a host of another partition,
        # or to a host name that is not registered yet.
        return arn.region in self._clients.regions(self.partition)

    def _region(self, arn: KeyARN) -> str:
        return arn.region if not self.regions or arn.region in self.regions else self.regions[0]


def _check_region(region: str, partition: str, clients: "Clients[KMSClient]") -> None:
    of = clients.partition(region)
    if of != partition:
        raise ConfigError(
            f"The Region {region!r} is of partition {of}, not of {partition}.",
            hint=f"Name Regions of {partition}, or another partition.",
        )


_READ_ONLY = "A discovery keyring cannot write: it has no key to wrap data keys with."
_READ_ONLY_HINT = "Name the key to write with: KMSKeyring(key)."


def _edk(wrapped: KMSBlob) -> EncryptedDataKey:
    return EncryptedDataKey(
        KMS_PROVIDER, wrapped.arn.encode(), wrapped.blob, material_id=wrapped.material_id
    )


def _edk_arn(edk: EncryptedDataKey) -> KeyARN | None:
    if edk.provider != KMS_PROVIDER or not 0 < len(edk.ciphertext) <= _MAX_BLOB_LENGTH:
        return None
    return KeyARN.parse(edk.info.decode(errors="replace"))


def _first_opened(
    candidates: Sequence[tuple[KMSKey, EncryptedDataKey]],
    context: Mapping[str, str],
    length: int,
    edks: Sequence[EncryptedDataKey],
) -> bytes:
    """Return the data key of the first EDK that its key unwraps.

    If there is none, raise the most important of the errors.
    """
    failure: S3CryptError | None = None
    for key, edk in candidates:
        try:
            plaintext, opened_by = key.unwrap(edk.ciphertext, context)
        except S3CryptError as error:
            refusal = error
            if error.code == INCORRECT_KEY and not key.is_named_by_arn:
                # Only KMS knows to which key the alias points. Its reply shows that this key did
                # not wrap the EDK.
                refusal = not_named(edks, said=error)
            failure = heavier(failure, refusal)
            continue
        named = _edk_arn(edk)
        if len(plaintext) == length and opened_by and named and opened_by.is_sibling(named):
            return plaintext
        failure = heavier(failure, unopened(edks))
    raise failure or not_named(edks)
