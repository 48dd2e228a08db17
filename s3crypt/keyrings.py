# SPDX-License-Identifier: Apache-2.0
"""Who wraps data keys. Wire forms are the AWS Encryption SDK's, so any of its keyrings opens them.

A key source of your own is a class with the four methods of `Keyring`; `AESKeyring` shows how.
Source: aws-encryption-sdk-specification, framework/{raw-aes,raw-rsa,aws-kms,multi}-keyring.md.
"""

import re
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from secrets import token_bytes
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import BotoCoreError, ClientError
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .aws import Clients, translate, translating
from .caching import CachingKeyring
from .errors import ConfigError, IntegrityError, KeyUnavailableError, S3CryptError
from .message.header import serialize_context
from .message.keys import DataKey, EncryptedDataKey, Keyring
from .message.suites import IV_LENGTH, TAG_LENGTH

if TYPE_CHECKING:
    import boto3

__all__ = ["AESKeyring", "KMSKeyring", "Keyring", "MultiKeyring", "RSAKeyring", "key_names"]

KMS_PROVIDER = "aws-kms"
_UNOPENED = "No key given opens this data key: it is wrapped by another key, or was changed."


def key_names(edks: Sequence[EncryptedDataKey]) -> tuple[str, ...]:
    """Return who wrapped these data keys, as key names on the command line are written.

    Headers are anyone's bytes, and names are shown on terminals: what does not print is replaced.
    """
    return tuple(
        "".join(character if character.isprintable() else "\ufffd" for character in _key_name(edk))
        for edk in edks
    )


def _key_name(edk: EncryptedDataKey) -> str:
    text = edk.info.decode(errors="replace")
    if edk.provider == KMS_PROVIDER:
        return f"kms:{text}"
    tail = struct.pack(">II", TAG_LENGTH * 8, IV_LENGTH)
    if len(edk.info) > 20 and edk.info[-20:-IV_LENGTH] == tail:
        return f"aes:{edk.provider}/{edk.info[:-20].decode(errors='replace')}"
    return f"rsa:{edk.provider}/{text}"


def _check_name(namespace: str, name: str) -> None:
    if not namespace or not name or namespace.startswith(KMS_PROVIDER):
        raise ConfigError(
            f"A key needs a namespace and a name, and {KMS_PROVIDER!r} is AWS's own namespace."
        )


@dataclass(frozen=True, slots=True)
class AESKeyring:
    """Wraps data keys with an AES-GCM key that the caller holds.

    Attributes:
        namespace: Whose key it is; stored in every message, in the clear.
        name: Which key it is; stored likewise. A new key needs a new name.
        key_bytes: 16, 24 or 32 random bytes.
    """

    namespace: str
    name: str
    key_bytes: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_name(self.namespace, self.name)
        if len(self.key_bytes) not in (16, 24, 32):
            raise ConfigError(f"An AES key has 16, 24 or 32 bytes, not {len(self.key_bytes)}.")

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a new data key, wrapped."""
        plaintext = token_bytes(length)
        return DataKey(plaintext, self.wrap(plaintext, context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key sealed under this key, its context authenticated."""
        iv = token_bytes(IV_LENGTH)
        sealed = AESGCM(self.key_bytes).encrypt(iv, data_key, serialize_context(context))
        return (EncryptedDataKey(self.namespace, self._info() + iv, sealed),)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first EDK of this name that opens."""
        cipher = AESGCM(self.key_bytes)
        for edk in filter(self._is_ours, edks):
            try:
                data_key = cipher.decrypt(
                    edk.info[-IV_LENGTH:], edk.ciphertext, serialize_context(context)
                )
            except InvalidTag:
                continue
            if len(data_key) == length:
                return data_key
        raise IntegrityError(_UNOPENED, hint=_names_hint(edks))

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Tell whether the one EDK has this namespace and name."""
        return len(edks) == 1 and self._is_ours(edks[0])

    def _info(self) -> bytes:
        return self.name.encode() + struct.pack(">II", TAG_LENGTH * 8, IV_LENGTH)

    def _is_ours(self, edk: EncryptedDataKey) -> bool:
        info = self._info()
        return (
            edk.provider == self.namespace
            and edk.info.startswith(info)
            and len(edk.info) == len(info) + IV_LENGTH
        )


def _names_hint(edks: Sequence[EncryptedDataKey]) -> str:
    return f"The header names {', '.join(name[:200] for name in key_names(edks[:4]))}."


def _oaep(algorithm: hashes.HashAlgorithm) -> rsa_padding.OAEP:
    return rsa_padding.OAEP(rsa_padding.MGF1(algorithm), algorithm, None)


_RSA_PADDINGS: dict[str, Callable[[], rsa_padding.AsymmetricPadding]] = {
    "OAEP-SHA256": lambda: _oaep(hashes.SHA256()),
    "OAEP-SHA384": lambda: _oaep(hashes.SHA384()),
    "OAEP-SHA512": lambda: _oaep(hashes.SHA512()),
    # Both for reading what other writers left behind.
    "OAEP-SHA1": lambda: _oaep(hashes.SHA1()),  # noqa: S303 - no collision resistance is needed
    "PKCS1": rsa_padding.PKCS1v15,
}


@dataclass(frozen=True, slots=True)
class RSAKeyring:
    """Wraps data keys with an RSA public key and unwraps them with its private key.

    The encryption context is not bound to the wrapped key (RSA has no place for it); it stays
    bound to the message by the header's tag.

    Attributes:
        namespace: Whose key it is; stored in every message, in the clear.
        name: Which key it is; stored likewise.
        public: PEM of the public key; left out, it is the private key's.
        private: PEM of the unencrypted private key; left out, nothing can be unwrapped.
        padding: `OAEP-SHA256`, `OAEP-SHA384`, `OAEP-SHA512`; `OAEP-SHA1` and `PKCS1` too.
    """

    namespace: str
    name: str
    public: bytes | None = None
    private: bytes | None = field(default=None, repr=False)
    padding: str = "OAEP-SHA256"
    _encryptor: rsa.RSAPublicKey = field(init=False, repr=False, compare=False)
    _decryptor: rsa.RSAPrivateKey | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_name(self.namespace, self.name)
        if self.padding not in _RSA_PADDINGS:
            raise ConfigError(
                f"Unknown RSA padding {self.padding!r}.", hint=f"One of {', '.join(_RSA_PADDINGS)}."
            )
        if self.public is None and self.private is None:
            raise ConfigError("An RSA keyring needs a public or a private key.")
        decryptor = _load_private(self.private) if self.private is not None else None
        if self.public is not None:
            encryptor = _load_public(self.public)
        elif decryptor is not None:
            encryptor = decryptor.public_key()
        if decryptor is not None and encryptor != decryptor.public_key():
            raise ConfigError("The public and the private key are not of one pair.")
        object.__setattr__(self, "_decryptor", decryptor)
        object.__setattr__(self, "_encryptor", encryptor)

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a new data key, wrapped."""
        plaintext = token_bytes(length)
        return DataKey(plaintext, self.wrap(plaintext, context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key encrypted with the public key."""
        del context  # RSA binds none; the header's tag does.
        try:
            sealed = self._encryptor.encrypt(data_key, _RSA_PADDINGS[self.padding]())
        except ValueError:
            raise ConfigError(
                f"A data key does not fit this RSA key with {self.padding}.",
                hint="Use a key of 2048 bits or more.",
            ) from None
        return (EncryptedDataKey(self.namespace, self.name.encode(), sealed),)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first EDK of this name that opens."""
        del context
        ours = [edk for edk in edks if self._is_ours(edk)]
        decryptor = self._decryptor
        if not ours:
            raise IntegrityError(_UNOPENED, hint=_names_hint(edks))
        if decryptor is None:
            raise KeyUnavailableError(
                f"The private key of rsa:{self.namespace}/{self.name} is not here.",
                hint="Give a PEM file with the private key.",
            )
        for edk in ours:
            try:
                data_key = decryptor.decrypt(edk.ciphertext, _RSA_PADDINGS[self.padding]())
            except ValueError:
                continue
            # PKCS#1 v1.5 answers bad padding with random bytes, so only the length tells here
            # and the header's tag the rest: one error for both.
            if len(data_key) == length:
                return data_key
        raise IntegrityError(_UNOPENED, hint=_names_hint(edks))

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Tell whether the one EDK has this namespace and name."""
        return len(edks) == 1 and self._is_ours(edks[0])

    def _is_ours(self, edk: EncryptedDataKey) -> bool:
        return (edk.provider, edk.info) == (self.namespace, self.name.encode())


def _load_private(pem: bytes) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError("Not the PEM of an unencrypted RSA private key.") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigError("The private key is not an RSA key.")
    return key


def _load_public(pem: bytes) -> rsa.RSAPublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("Not the PEM of an RSA public key.") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise ConfigError("The public key is not an RSA key.")
    return key


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


def resolve_key_arn(client: Any, key: str) -> str:
    """Return the ARN of a KMS key named by id, alias or ARN; asks KMS unless it is an ARN."""
    arn = _KMSArn.parse(key)
    if arn and arn.kind == "key":
        return key
    with translating(f"KMS key {key}", KeyUnavailableError):
        return str(client.describe_key(KeyId=key)["KeyMetadata"]["Arn"])


class KMSKeyring:
    """Wraps data keys with one AWS KMS key, which never leaves KMS.

    One GenerateDataKey (or Encrypt) a message written, one Decrypt a message read. Decrypt is
    always told the key, so a message cannot choose another key for the reader; a multi-Region
    key opens what any of its replicas wrapped.

    Args:
        key: Key ARN, key id, alias (`alias/reports`) or alias ARN. Headers carry the key's ARN.
        session: boto3 session to make KMS clients from; the default one if left out.
        client: A KMS client to use instead of making one.
    """

    def __init__(
        self, key: str, *, session: "boto3.Session | None" = None, client: Any = None
    ) -> None:
        if not key:
            raise ConfigError("A KMS keyring needs a key: an ARN, an id or an alias.")
        self.key = key
        self._arn = _KMSArn.parse(key)
        if key.startswith("arn:") and not self._arn:
            raise ConfigError(f"Not the ARN of a KMS key: {key!r}.")
        self._clients = Clients("kms", session=session, client=client)

    @classmethod
    def discovery(
        cls,
        *,
        accounts: Collection[str],
        partition: str = "aws",
        regions: Collection[str] | None = None,
        session: "boto3.Session | None" = None,
    ) -> "DiscoveryKeyring":
        """Return a keyring that opens whatever any KMS key of these accounts wrapped.

        Args:
            accounts: Twelve-digit account ids whose keys are trusted.
            partition: `aws`, `aws-cn` or `aws-us-gov`.
            regions: Regions asked; None for the one each message names. A multi-Region key of
                another Region is looked for in the first of them.
            session: boto3 session to make KMS clients from.
        """
        return DiscoveryKeyring(
            tuple(accounts), partition, tuple(regions or ()), Clients("kms", session=session)
        )

    def __repr__(self) -> str:
        return f"KMSKeyring({self.key!r})"

    @property
    def arn(self) -> str:
        """Return the key's ARN; an alias or id is looked up each time (needs kms:DescribeKey)."""
        return resolve_key_arn(self.client, self.key)

    def pinned(self) -> "KMSKeyring":
        """Return a keyring of the key that the alias names now, whatever it names later."""
        arn = self.arn
        if arn == self.key:
            return self
        keyring = KMSKeyring(arn)
        keyring._clients = self._clients
        return keyring

    @property
    def client(self) -> Any:
        """Return the KMS client of the key's Region."""
        return self._clients.get(self._arn.region if self._arn else None)

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a data key generated by KMS."""
        with translating(self._subject, KeyUnavailableError):
            reply = self.client.generate_data_key(
                KeyId=self.key, NumberOfBytes=length, EncryptionContext=dict(context)
            )
        plaintext = bytes(reply["Plaintext"])
        if len(plaintext) != length:
            raise IntegrityError(f"{self._subject}: KMS returned a data key of another length.")
        return DataKey(plaintext, (_kms_edk(reply),))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key encrypted by KMS."""
        with translating(self._subject, KeyUnavailableError):
            reply = self.client.encrypt(
                KeyId=self.key, Plaintext=data_key, EncryptionContext=dict(context)
            )
        return (_kms_edk(reply),)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first EDK that KMS opens with this key."""
        ours = [edk for edk in edks if self.opens(edk)]
        return _first_opened([(self.client, self.key, edk) for edk in ours], context, length, edks)

    def rewrap(
        self, edk: EncryptedDataKey, context: Mapping[str, str], *, source: "KMSKeyring"
    ) -> EncryptedDataKey:
        """Return an EDK of `source`'s key under this key, by kms:ReEncrypt.

        KMS sees the data key, this process does not.
        """
        with translating(f"{source._subject} to {self._subject}", KeyUnavailableError):  # noqa: SLF001 - same class
            reply = self.client.re_encrypt(
                CiphertextBlob=edk.ciphertext,
                SourceKeyId=source.key,
                SourceEncryptionContext=dict(context),
                DestinationKeyId=self.key,
                DestinationEncryptionContext=dict(context),
            )
        return _kms_edk(reply)

    def is_reachable_from(self, other: "KMSKeyring") -> bool:
        """Tell whether kms:ReEncrypt can go from `other`'s key to this one: one Region."""
        return bool(self.client.meta.region_name == other.client.meta.region_name)

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

    def opens(self, edk: EncryptedDataKey) -> bool:
        """Tell whether this key or a multi-Region sibling wrapped the EDK, or may have."""
        arn = _edk_arn(edk)
        if arn is None or arn.kind != "key":
            return False
        # An alias or a bare id says nothing about the ARN; KMS itself then compares the keys.
        if self._arn is None or self._arn.kind == "alias":
            return True
        return self._arn.is_sibling(arn)


@dataclass(frozen=True, slots=True)
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

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Refuse: discovery only reads."""
        raise ConfigError(_READ_ONLY, hint=_READ_ONLY_HINT)

    def _trusts(self, arn: _KMSArn) -> bool:
        return (
            arn.kind == "key"
            and arn.partition == self.partition
            and arn.account in self.accounts
            and (not self.regions or arn.region in self.regions or arn.id.startswith("mrk-"))
        )

    def _region(self, arn: _KMSArn) -> str:
        return arn.region if not self.regions or arn.region in self.regions else self.regions[0]


_READ_ONLY = "A discovery keyring only reads; it has no key to wrap with."
_READ_ONLY_HINT = "Name the key to write with: KMSKeyring(key)."


def _edk_arn(edk: EncryptedDataKey) -> _KMSArn | None:
    if edk.provider != KMS_PROVIDER or not 0 < len(edk.ciphertext) <= _MAX_BLOB_LENGTH:
        return None
    return _KMSArn.parse(edk.info.decode(errors="replace"))


def _kms_edk(reply: Mapping[str, Any]) -> EncryptedDataKey:
    return EncryptedDataKey(
        KMS_PROVIDER, str(reply["KeyId"]).encode(), bytes(reply["CiphertextBlob"])
    )


def _first_opened(
    candidates: Sequence[tuple[Any, str, EncryptedDataKey]],
    context: Mapping[str, str],
    length: int,
    edks: Sequence[EncryptedDataKey],
) -> bytes:
    """Return the data key of the first (client, key, EDK) that KMS opens, or say why none did."""
    failure: S3CryptError | None = None
    for client, key, edk in candidates:
        try:
            reply = client.decrypt(
                KeyId=key, CiphertextBlob=edk.ciphertext, EncryptionContext=dict(context)
            )
        except (ClientError, BotoCoreError) as error:
            translated = translate(error, f"KMS key {key}", KeyUnavailableError)
            translated.__cause__ = error
            # That a key is denied or disabled is for its owner to mend; it outweighs a mismatch.
            if failure is None or isinstance(failure, IntegrityError):
                failure = translated
            continue
        plaintext = bytes(reply["Plaintext"])
        opened_by, named = _KMSArn.parse(str(reply["KeyId"])), _edk_arn(edk)
        if len(plaintext) == length and opened_by and named and opened_by.is_sibling(named):
            return plaintext
    raise failure or IntegrityError(_UNOPENED, hint=_names_hint(edks))


def pinned(keyring: Keyring) -> Keyring:
    """Return the keyring with its KMS aliases resolved, for a job that must not see them move."""
    if isinstance(keyring, KMSKeyring):
        return keyring.pinned()
    if isinstance(keyring, MultiKeyring):
        inner = tuple(map(pinned, keyring.keyrings))
        return keyring if inner == keyring.keyrings else MultiKeyring(*inner)
    if isinstance(keyring, CachingKeyring):
        wrapping = pinned(keyring.keyring)
        # Another cache where there are aliases: in the old one may be data keys under the key
        # that one named before, and what was written with them would not be as wanted.
        return keyring if wrapping is keyring.keyring else replace(keyring, keyring=wrapping)
    return keyring


def uncached(keyring: Keyring) -> Keyring:
    """Return the keyring that wraps, without the cache that may stand before it."""
    return keyring.keyring if isinstance(keyring, CachingKeyring) else keyring


class MultiKeyring:
    """Wraps each data key under several keys; any one of them opens it again.

    Args:
        generator: Generates the data key, and is the first asked to open one.
        others: Wrap the same data key too, in this order.
    """

    def __init__(self, generator: Keyring, *others: Keyring) -> None:
        # Flat, so that each keyring wraps one data key: nested ones mean the same.
        self.keyrings: tuple[Keyring, ...] = tuple(
            inner
            for keyring in (generator, *others)
            for inner in (keyring.keyrings if isinstance(keyring, MultiKeyring) else (keyring,))
        )
        if any(isinstance(keyring, CachingKeyring) for keyring in self.keyrings):
            # The other keyrings would wrap each message's data key anew, cached or not.
            raise ConfigError(
                "A CachingKeyring cannot be one keyring of several.",
                hint="Cache them together: CachingKeyring(MultiKeyring(...), max_age=...).",
            )

    def __repr__(self) -> str:
        return f"MultiKeyring({', '.join(map(repr, self.keyrings))})"

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a data key of the generator, wrapped by every keyring."""
        data_key = self.keyrings[0].generate(length, context, plaintext_length=plaintext_length)
        others = [
            edk
            for keyring in self.keyrings[1:]
            for edk in keyring.wrap(data_key.plaintext, context)
        ]
        return DataKey(data_key.plaintext, (*data_key.edks, *others))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key wrapped by every keyring."""
        return tuple(edk for keyring in self.keyrings for edk in keyring.wrap(data_key, context))

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first keyring that opens one.

        A keyring that cannot be asked (denied, unreachable, no credentials) keeps none of the
        others from being asked; what it said is raised only if no other opens the data key.
        """
        failure: S3CryptError | None = None
        for keyring in self.keyrings:
            try:
                return keyring.unwrap(edks, context, length)
            except S3CryptError as error:
                if failure is None or isinstance(failure, IntegrityError):
                    failure = error
        raise failure or AssertionError("unreachable: there is at least one keyring")

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Tell whether each EDK is of one keyring and each keyring has one, in this order."""
        return len(edks) == len(self.keyrings) and all(
            keyring.wrote([edk]) for keyring, edk in zip(self.keyrings, edks, strict=True)
        )
