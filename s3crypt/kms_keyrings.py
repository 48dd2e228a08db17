# SPDX-License-Identifier: Apache-2.0
"""Data keys wrapped by AWS KMS, whose keys never leave it. Managing those keys is `kms`'s part.

Source: aws-encryption-sdk-specification, framework/aws-kms/{aws-kms,aws-kms-discovery}-keyring.md.
"""

import copy
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

from .aws import Clients
from .caching import CachingKeyring
from .errors import ConfigError, IntegrityError, KeyUnavailableError, S3CryptError
from .keyrings import (
    INCORRECT_KEY,
    KMS_PROVIDER,
    UNOPENED,
    MultiKeyring,
    heavier,
    names_hint,
    not_named,
)
from .message.keys import DataKey, EncryptedDataKey, Keyring
from .requests import Look, call

if TYPE_CHECKING:
    import boto3

_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):kms:(?P<region>[a-z]+(?:-[a-z0-9]+)+):(?P<account>[0-9]{12})"
    r":(?P<kind>key|alias)/(?P<id>[A-Za-z0-9/_-]{1,256})"
)
# What kms:Decrypt takes, and the bound that keeps a forged region out of host names.
_MAX_BLOB_LENGTH, _MAX_REGION_LENGTH = 6144, 63


@dataclass(frozen=True, slots=True)
class _KMSArn:
    partition: str
    region: str
    account: str
    kind: str
    id: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        match = _ARN.fullmatch(text)
        if not match or len(match["region"]) > _MAX_REGION_LENGTH:
            return None
        return cls(**match.groupdict())

    def is_sibling(self, other: "_KMSArn") -> bool:
        """Tell whether both are one key, or replicas of one multi-Region key."""
        if self == other:
            return True
        same = (self.partition, self.account, self.kind, self.id)
        return self.id.startswith("mrk-") and same == (
            other.partition,
            other.account,
            other.kind,
            other.id,
        )


def resolve_key_arn(client: Any, key: str, **more: Any) -> str:
    """Return the ARN of a KMS key named by id, alias or ARN; asks KMS unless it is an ARN.

    `more` are arguments of the request.
    """
    arn = _KMSArn.parse(key)
    if arn and arn.kind == "key":
        return key
    reply = ask_kms(client, "describe_key", f"KMS key {key}", KeyId=key, **more)
    return str(reply["KeyMetadata"]["Arn"])


def ask_kms(
    client: Any, operation: str, subject: str, *, look: Look | None = None, **arguments: Any
) -> Mapping[str, Any]:
    """Make a KMS request; an error that has no type of its own is a `KeyUnavailableError`."""
    return call(client, operation, arguments, subject, failure=KeyUnavailableError, look=look)


class KMSKeyring:
    """Wraps data keys with one AWS KMS key, which never leaves KMS.

    One GenerateDataKey (or Encrypt) a message written, one Decrypt a message read. Decrypt is
    always told the key, so a message cannot choose another key for the reader; a multi-Region
    key opens what any of its replicas wrapped.

    Args:
        key: Key ARN, key id, alias (`alias/reports`) or alias ARN, with `kms:` before it or
            without. Headers carry the key's ARN.
        session: boto3 session to make KMS clients from. If left out, it is the session of the
            store that uses the keyring, or else the default one.
        client: A KMS client to use instead of making one.
        allow_plain_http: Let requests, which hold data keys, go to other machines over plain
            HTTP.
        grant_tokens: Tokens of grants that were just made, ten at most, sent with every request
            about the key: a grant takes up to five minutes to be known to all of KMS.
    """

    def __init__(
        self,
        key: str,
        *,
        session: "boto3.Session | None" = None,
        client: Any = None,
        allow_plain_http: bool = False,
        grant_tokens: Sequence[str] = (),
    ) -> None:
        key = key.removeprefix("kms:") if isinstance(key, str) else ""
        if not key:
            raise ConfigError("A KMS keyring needs a key: an ARN, an id or an alias.")
        self._grants = _grants(grant_tokens)
        self.key = key
        self._arn = _KMSArn.parse(key)
        if key.startswith("arn:") and not self._arn:
            raise ConfigError(f"Not the ARN of a KMS key: {key!r}.")
        self._clients = Clients(
            "kms", session=session, client=client, allow_plain_http=allow_plain_http
        )

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
        """Return a keyring that opens whatever any KMS key of these accounts wrapped.

        Args:
            accounts: Twelve-digit account ids whose keys are trusted.
            partition: `aws`, `aws-cn` or `aws-us-gov`.
            regions: Regions asked; None for the one each message names, if botocore knows it as
                one of the partition: name a Region that is newer than botocore. A multi-Region
                key of another Region is looked for in the first of them.
            session: boto3 session to make KMS clients from; as for `KMSKeyring` if left out.
            allow_plain_http: As for `KMSKeyring`.
        """
        clients = Clients("kms", session=session, allow_plain_http=allow_plain_http)
        for region in regions or ():
            _check_region(region, partition, clients)
        return DiscoveryKeyring(tuple(accounts), partition, tuple(regions or ()), clients)

    def __repr__(self) -> str:
        return f"KMSKeyring({self.key!r})"

    @property
    def arn(self) -> str:
        """Return the key's ARN; an alias or id is looked up each time (needs kms:DescribeKey)."""
        return resolve_key_arn(self.client, self.key, **self._grants)

    def pinned(self) -> "KMSKeyring":
        """Return a keyring of the key that the alias names now, whatever it names later."""
        arn = self.arn
        if arn == self.key:
            return self
        keyring = copy.copy(self)
        keyring.key, keyring._arn = arn, _KMSArn.parse(arn)  # noqa: SLF001 - same class
        return keyring

    def with_session(self, session: "boto3.Session") -> "KMSKeyring":
        """Return a copy that uses `session`, or this keyring if it was given one or a client."""
        if not self._clients.are_of_the_default_session:
            return self
        keyring = copy.copy(self)
        keyring._clients = self._clients.with_session(session)  # noqa: SLF001 - same class
        return keyring

    @property
    def client(self) -> Any:
        """Return the KMS client of the key's Region."""
        return self._clients.get(self._arn.region if self._arn else None)

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a data key generated by KMS."""
        reply = ask_kms(
            self.client,
            "generate_data_key",
            self._subject,
            KeyId=self.key,
            NumberOfBytes=length,
            EncryptionContext=dict(context),
            **self._grants,
        )
        plaintext = bytes(reply["Plaintext"])
        if len(plaintext) != length:
            raise IntegrityError(f"{self._subject}: KMS returned a data key of another length.")
        return DataKey(plaintext, (_kms_edk(reply),))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key encrypted by KMS."""
        reply = ask_kms(
            self.client,
            "encrypt",
            self._subject,
            KeyId=self.key,
            Plaintext=data_key,
            EncryptionContext=dict(context),
            **self._grants,
        )
        return (_kms_edk(reply),)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first EDK that KMS opens with this key."""
        ours = [edk for edk in edks if self.opens(edk)]
        candidates = [(self.client, self.key, edk) for edk in ours]
        return _first_opened(candidates, context, length, edks, grants=self._grants)

    def rewrap(
        self, edk: EncryptedDataKey, context: Mapping[str, str], *, source: "KMSKeyring"
    ) -> EncryptedDataKey:
        """Return an EDK of `source`'s key under this key, by kms:ReEncrypt.

        KMS sees the data key, this process does not.
        """
        reply = ask_kms(
            self.client,
            "re_encrypt",
            f"{source._subject} to {self._subject}",  # noqa: SLF001 - same class
            CiphertextBlob=edk.ciphertext,
            SourceKeyId=source.key,
            SourceEncryptionContext=dict(context),
            DestinationKeyId=self.key,
            DestinationEncryptionContext=dict(context),
            **_grants((*source._tokens, *self._tokens)),  # noqa: SLF001 - same class
        )
        return _kms_edk(reply)

    def is_reachable_from(self, other: "KMSKeyring") -> bool:
        """Return whether one kms:ReEncrypt can go from `other`'s key to this one.

        Both are of one Region, and their grant tokens are not too many for one request.
        """
        tokens = {*self._tokens, *other._tokens}  # noqa: SLF001 - same class
        is_near = self.client.meta.region_name == other.client.meta.region_name
        return is_near and len(tokens) <= _MOST_GRANT_TOKENS

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Tell whether the one EDK names this key."""
        return (
            len(edks) == 1
            and edks[0].provider == KMS_PROVIDER
            and edks[0].info.decode(errors="replace") == self.arn
        )

    @property
    def _subject(self) -> str:
        return f"KMS key {self.key}"

    @property
    def _tokens(self) -> Sequence[str]:
        tokens: Sequence[str] = self._grants.get("GrantTokens", ())
        return tokens

    def opens(self, edk: EncryptedDataKey) -> bool:
        """Tell whether this key or a multi-Region sibling wrapped the EDK, or may have."""
        arn = _edk_arn(edk)
        if arn is None or arn.kind != "key":
            return False
        if self._arn and self._arn.kind == "key":
            return self._arn.is_sibling(arn)
        # An alias says nothing about the ARN, and an id nothing about account and Region; KMS
        # itself then compares the keys.
        return "alias/" in self.key or arn.id == self.key


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class DiscoveryKeyring:
    """Opens what any KMS key of some accounts wrapped; wraps nothing. See KMSKeyring.discovery."""

    accounts: tuple[str, ...]
    partition: str
    regions: tuple[str, ...]
    _clients: Clients = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.accounts or not all(re.fullmatch(r"[0-9]{12}", a) for a in self.accounts):
            raise ConfigError("Discovery needs the twelve-digit ids of the accounts it may trust.")

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Refuse: discovery only reads."""
        raise ConfigError(_READ_ONLY, hint=_READ_ONLY_HINT)

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Refuse: discovery only reads."""
        raise ConfigError(_READ_ONLY, hint=_READ_ONLY_HINT)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first EDK of a trusted account's key that KMS opens."""
        candidates = []
        for edk in edks:
            arn = _edk_arn(edk)
            if arn and self._trusts(arn):
                region = self._region(arn)
                key = edk.info.decode().replace(f":{arn.region}:", f":{region}:", 1)
                candidates.append((self._clients.get(region), key, edk))
        return _first_opened(candidates, context, length, edks)

    def opens(self, edk: EncryptedDataKey) -> bool:
        """Return whether a key of a trusted account wrapped the EDK."""
        arn = _edk_arn(edk)
        return arn is not None and self._trusts(arn)

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Refuse: discovery only reads."""
        raise ConfigError(_READ_ONLY, hint=_READ_ONLY_HINT)

    def with_session(self, session: "boto3.Session") -> "DiscoveryKeyring":
        """Return a copy that uses `session`, or this keyring if it was given one."""
        if not self._clients.are_of_the_default_session:
            return self
        return replace(self, _clients=self._clients.with_session(session))

    def _trusts(self, arn: _KMSArn) -> bool:
        return (
            arn.kind == "key"
            and arn.partition == self.partition
            and arn.account in self.accounts
            and self._trusts_region(arn)
        )

    def _trusts_region(self, arn: _KMSArn) -> bool:
        if self.regions:
            return arn.region in self.regions or arn.id.startswith("mrk-")
        # A message is anyone's bytes: it must not choose hosts of another partition, nor names
        # that are nobody's yet.
        return arn.region in self._clients.regions(self.partition)

    def _region(self, arn: _KMSArn) -> str:
        return arn.region if not self.regions or arn.region in self.regions else self.regions[0]


def _check_region(region: str, partition: str, clients: Clients) -> None:
    of = clients.partition(region)
    if of != partition:
        raise ConfigError(
            f"The Region {region!r} is of partition {of}, not of {partition}.",
            hint=f"Name Regions of {partition}, or another partition.",
        )


_MOST_GRANT_TOKENS = 10


def _grants(tokens: Sequence[str]) -> dict[str, Any]:
    """Return the argument of a KMS request that names these grants.

    Raises:
        ConfigError: They are no list of tokens, or more than KMS takes.
    """
    is_list = isinstance(tokens, Sequence) and not isinstance(tokens, str)
    different = list(dict.fromkeys(tokens)) if is_list else []
    are_texts = all(isinstance(token, str) and token for token in different)
    if not is_list or not are_texts or len(different) > _MOST_GRANT_TOKENS:
        raise ConfigError(
            f"grant_tokens is a list of the tokens of grants, {_MOST_GRANT_TOKENS} at most.",
            hint="Without tokens, a grant is known to all of KMS after five minutes.",
        )
    return {"GrantTokens": different} if different else {}


_READ_ONLY = "A discovery keyring only reads; it has no key to wrap with."
_READ_ONLY_HINT = "Name the key to write with: KMSKeyring(key)."


def _edk_arn(edk: EncryptedDataKey) -> _KMSArn | None:
    if edk.provider != KMS_PROVIDER or not 0 < len(edk.ciphertext) <= _MAX_BLOB_LENGTH:
        return None
    return _KMSArn.parse(edk.info.decode(errors="replace"))


def _names_key(key: str) -> bool:
    """Return whether a key is named by its ARN, so that EDKs of other keys are never sent."""
    arn = _KMSArn.parse(key)
    return arn is not None and arn.kind == "key"


def _kms_edk(reply: Mapping[str, Any]) -> EncryptedDataKey:
    return EncryptedDataKey(
        KMS_PROVIDER, str(reply["KeyId"]).encode(), bytes(reply["CiphertextBlob"])
    )


def _first_opened(
    candidates: Sequence[tuple[Any, str, EncryptedDataKey]],
    context: Mapping[str, str],
    length: int,
    edks: Sequence[EncryptedDataKey],
    *,
    grants: Mapping[str, Any] = MappingProxyType({}),
) -> bytes:
    """Return the data key of the first (client, key, EDK) that KMS opens, or say why none did."""
    failure: S3CryptError | None = None
    for client, key, edk in candidates:
        try:
            reply = ask_kms(
                client,
                "decrypt",
                f"KMS key {key}",
                KeyId=key,
                CiphertextBlob=edk.ciphertext,
                EncryptionContext=dict(context),
                **grants,
            )
        except S3CryptError as error:
            refusal = error
            if error.code == INCORRECT_KEY and not _names_key(key):
                # Which key an alias names, only KMS could say: not the one that wrapped this.
                refusal = not_named(edks, said=error)
            failure = heavier(failure, refusal)
            continue
        plaintext = bytes(reply["Plaintext"])
        opened_by, named = _KMSArn.parse(str(reply["KeyId"])), _edk_arn(edk)
        if len(plaintext) == length and opened_by and named and opened_by.is_sibling(named):
            return plaintext
        failure = heavier(failure, IntegrityError(UNOPENED, hint=names_hint(edks)))
    raise failure or not_named(edks)


def pinned(keyring: Keyring) -> Keyring:
    """Return the keyring with its KMS aliases resolved, for a job that must not see them move."""
    if isinstance(keyring, KMSKeyring):
        return keyring.pinned()
    # In an old cache may be data keys under the key that an alias named before, and objects
    # written with them would not be as wanted. The copy has a cache of its own.
    return _with_inner(keyring, pinned)


def _with_inner(keyring: Keyring, change: Callable[[Keyring], Keyring]) -> Keyring:
    """Return the keyring with the keyrings inside it changed, or itself where none changes."""
    if isinstance(keyring, MultiKeyring):
        inner = tuple(map(change, keyring.keyrings))
        if any(new is not old for new, old in zip(inner, keyring.keyrings, strict=True)):
            return MultiKeyring(*inner)
    elif isinstance(keyring, CachingKeyring):
        wrapping = change(keyring.keyring)
        if wrapping is not keyring.keyring:
            return keyring.before(wrapping)
    return keyring


class SessionKeyrings:
    """Copies of keyrings that ask KMS with one session, where the keyrings were given none.

    There is one copy per keyring, kept for as long as the keyring is in use: a CachingKeyring's
    copy keeps its cache, and each copy its clients. The keyrings themselves are not changed.
    """

    def __init__(self, session: "boto3.Session") -> None:
        self._session = session
        # By identity: none of these types compares by value, since sessions and rights differ.
        self._copies: WeakKeyDictionary[Keyring, Keyring] = WeakKeyDictionary()

    def of(self, keyring: Keyring) -> Keyring:
        """Return the copy of a keyring, or the keyring itself where no session is missing."""
        if not isinstance(keyring, KMSKeyring | DiscoveryKeyring | MultiKeyring | CachingKeyring):
            return keyring
        made = self._copies.get(keyring)
        if made is None:
            made = self._made(keyring)
            if made is keyring:
                # It would keep itself alive.
                return keyring
            made = self._copies.setdefault(keyring, made)
        return made

    def _made(self, keyring: Keyring) -> Keyring:
        if isinstance(keyring, KMSKeyring | DiscoveryKeyring):
            return keyring.with_session(self._session)
        return _with_inner(keyring, self.of)
