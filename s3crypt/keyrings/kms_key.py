# SPDX-License-Identifier: Apache-2.0
"""A KMS key that wraps data keys, independent of any format of wrapped keys.

The wrapped form is KMS's own blob. This module does not know EDKs: the format decides where a blob
is stored. Creation and rotation of KMS keys are in `s3crypt.kms`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from s3crypt.errors import ConfigError, IntegrityError, KeyUnavailableError
from s3crypt.operations import KMSOperation
from s3crypt.requests import call

from .materials import material_id_of, note_opened

if TYPE_CHECKING:
    from types_boto3_kms.client import KMSClient

    from s3crypt.aws import Clients

_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):kms:(?P<region>[a-z]+(?:-[a-z0-9]+)+):(?P<account>[0-9]{12})"
    r":(?P<kind>key|alias)/(?P<id>[A-Za-z0-9/_-]{1,256})"
)
# The maximum length of a DNS label. A longer, forged Region must not become part of a host name.
_MAX_REGION_LENGTH = 63
_MAX_GRANT_TOKENS = 10


@dataclass(frozen=True, slots=True)
class KeyARN:
    """The ARN of a KMS key or alias, in parts."""

    partition: str
    region: str
    account: str
    kind: str
    id: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the parts of an ARN.

        Return None if the text is not the ARN of a KMS key or alias.
        """
        match = _ARN.fullmatch(text)
        if not match or len(match["region"]) > _MAX_REGION_LENGTH:
            return None
        return cls(**match.groupdict())

    def is_sibling(self, other: "KeyARN") -> bool:
        """Return whether both ARNs name the same key, or keys of one multi-Region set."""
        if self == other:
            return True
        same = (self.partition, self.account, self.kind, self.id)
        return self.id.startswith("mrk-") and same == (
            other.partition,
            other.account,
            other.kind,
            other.id,
        )


class KMSBlob(NamedTuple):
    """A data key that KMS wrapped, with the ARN of the wrapping key and the id of its material.

    The id is None if KMS does not report it. The reply to Encrypt never contains it.
    """

    arn: str
    blob: bytes
    material_id: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class KMSKey:
    """One KMS key, and the clients for requests about it. The key is named by ARN, id or alias.

    Attributes:
        name: The key's ARN, key id, alias or alias ARN.
        clients: Creates the client for the key's Region.
        grant_tokens: The tokens of grants. They are sent with every request about the key.
    """

    name: str
    clients: "Clients[KMSClient]" = field(repr=False)
    grant_tokens: Sequence[str] = field(default=(), repr=False)
    _arn: KeyARN | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("A KMS keyring needs a key: an ARN, an id or an alias.")
        object.__setattr__(self, "grant_tokens", _distinct(self.grant_tokens))
        arn = KeyARN.parse(self.name)
        if self.name.startswith("arn:") and not arn:
            raise ConfigError(f"Not the ARN of a KMS key: {self.name!r}.")
        object.__setattr__(self, "_arn", arn)

    def __str__(self) -> str:
        return f"KMS key {self.name}"

    @property
    def client(self) -> "KMSClient":
        """The KMS client of the key's Region."""
        return self.clients.get(self._arn.region if self._arn else None)

    @property
    def arn(self) -> str:
        """The key's ARN. An alias or id is resolved each time, which needs kms:DescribeKey."""
        return resolve_key_arn(self.client, self.name, **self._grants())

    @property
    def is_named_by_arn(self) -> bool:
        """Whether the name is a key ARN. Unlike an alias, it always names the same key."""
        return self._arn is not None and self._arn.kind == "key"

    def resolved(self) -> "KMSKey":
        """Return this key with its ARN as its name. An alias is resolved to its present key."""
        arn = self.arn
        return self if arn == self.name else replace(self, name=arn)

    def may_be(self, arn: KeyARN) -> bool:
        """Return whether an ARN may name this key or a key of its multi-Region set."""
        if arn.kind != "key":
            return False
        if self._arn and self.is_named_by_arn:
            return self._arn.is_sibling(arn)
        # An alias does not determine the ARN, and an id does not determine the account and the
        # Region. In these cases KMS compares the keys.
        return "alias/" in self.name or arn.id == self.name

    def generate(self, length: int, context: Mapping[str, str]) -> tuple[bytes, KMSBlob]:
        """Return a data key that KMS generated: the plain bytes, and the wrapped form."""
        reply = self._ask(
            "generate_data_key", KeyId=self.name, NumberOfBytes=length, **_bound(context)
        )
        plaintext = bytes(reply["Plaintext"])
        if len(plaintext) != length:
            raise IntegrityError(f"{self}: KMS returned a data key of the wrong length.")
        return plaintext, _blob(reply, "KeyMaterialId")

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> KMSBlob:
        """Return the data key encrypted by KMS."""
        return _blob(self._ask("encrypt", KeyId=self.name, Plaintext=data_key, **_bound(context)))

    def unwrap(self, blob: bytes, context: Mapping[str, str]) -> tuple[bytes, KeyARN | None]:
        """Return the data key in a blob, and the ARN of the key with which KMS decrypted it."""
        reply = self._ask("decrypt", KeyId=self.name, CiphertextBlob=blob, **_bound(context))
        note_opened(material_id_of(reply, "KeyMaterialId"))
        return bytes(reply["Plaintext"]), KeyARN.parse(str(reply["KeyId"]))

    def rewrap(self, blob: bytes, context: Mapping[str, str], *, source: "KMSKey") -> KMSBlob:
        """Return the data key in a blob of `source`, wrapped under this key by kms:ReEncrypt.

        The data key never leaves KMS.
        """
        tokens = (*source.grant_tokens, *self.grant_tokens)
        reply = ask_kms(
            self.client,
            "re_encrypt",
            f"{source} to {self}",
            CiphertextBlob=blob,
            SourceKeyId=source.name,
            SourceEncryptionContext=dict(context),
            DestinationKeyId=self.name,
            DestinationEncryptionContext=dict(context),
            **_grants(_distinct(tokens)),
        )
        note_opened(material_id_of(reply, "SourceKeyMaterialId"))
        return _blob(reply, "DestinationKeyMaterialId")

    def is_reachable_from(self, other: "KMSKey") -> bool:
        """Return whether kms:ReEncrypt can rewrap a data key from the key `other` to this key.

        Both keys must be in one Region, and must not have too many grant tokens for one request.
        """
        tokens = {*self.grant_tokens, *other.grant_tokens}
        is_near = self.client.meta.region_name == other.client.meta.region_name
        return is_near and len(tokens) <= _MAX_GRANT_TOKENS

    def _ask(self, operation: KMSOperation, **arguments: Any) -> Mapping[str, Any]:
        return ask_kms(self.client, operation, str(self), **arguments, **self._grants())

    def _grants(self) -> dict[str, Any]:
        return _grants(self.grant_tokens)


def resolve_key_arn(client: "KMSClient", key: str, **more: Any) -> str:
    """Return the ARN of a KMS key by its id, alias or ARN. If `key` is not a key ARN, KMS is asked.

    `more` are further arguments of the request, such as grant tokens.
    """
    arn = KeyARN.parse(key)
    if arn and arn.kind == "key":
        return key
    reply = ask_kms(client, "describe_key", f"KMS key {key}", KeyId=key, **more)
    return str(reply["KeyMetadata"]["Arn"])


def ask_kms(
    client: "KMSClient", operation: KMSOperation, subject: str, **arguments: Any
) -> Mapping[str, Any]:
    """Make a KMS request. An error whose code has no other type becomes a `KeyUnavailableError`."""
    return call(client, operation, arguments, subject, failure=KeyUnavailableError)


def _distinct(tokens: Sequence[str]) -> tuple[str, ...]:
    """Return the grant tokens without duplicates.

    Raises:
        ConfigError: `tokens` is not a list of tokens, or has more tokens than KMS accepts.
    """
    is_list = isinstance(tokens, Sequence) and not isinstance(tokens, str)
    different = tuple(dict.fromkeys(tokens)) if is_list else ()
    are_texts = all(isinstance(token, str) and token for token in different)
    if not is_list or not are_texts or len(different) > _MAX_GRANT_TOKENS:
        raise ConfigError(
            f"grant_tokens is a list of the tokens of grants, {_MAX_GRANT_TOKENS} at most.",
            hint="Without tokens, a new grant is effective after at most five minutes.",
        )
    return different


def _grants(tokens: Sequence[str]) -> dict[str, Any]:
    return {"GrantTokens": list(tokens)} if tokens else {}


def _bound(context: Mapping[str, str]) -> dict[str, Any]:
    return {"EncryptionContext": dict(context)}


def _blob(reply: Mapping[str, Any], material: str = "") -> KMSBlob:
    """Return the wrapped data key in a reply.

    `material` is the name of the reply's field with the id of the key material.
    """
    arn, blob = str(reply["KeyId"]), bytes(reply["CiphertextBlob"])
    return KMSBlob(arn, blob, material_id_of(reply, material))
