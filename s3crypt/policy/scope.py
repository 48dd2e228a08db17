# SPDX-License-Identifier: Apache-2.0
"""The bucket, keys and roles of a set of policies, as one checked value.

This module handles names and ARNs, not statements. The `*_statements` modules make policies from a
`Scope`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal, Self, TypeAlias, get_args

from s3crypt.errors import ConfigError

Mode: TypeAlias = Literal["sse-s3", "sse-kms", "dsse-kms", "client"]
Environment: TypeAlias = Literal["test", "dev", "production"]

ROLE_PATH = "/s3crypt/"
"""The path of the roles that `s3crypt iam init` makes."""

_KMS_MODES = frozenset({"sse-kms", "dsse-kms"})
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ACCOUNT = re.compile(r"\d{12}")
_REGION = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+")
_KEY = re.compile(r"arn:(aws[a-z-]*):kms:([a-z0-9-]+):(\d{12}):key/([A-Za-z0-9-]+)")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_PROVIDER = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:(saml|oidc)-provider/(.+)")
_ENDPOINT = re.compile(r"vpce-[0-9a-f]+")
# Any customer can get a token of these providers, so the audience alone identifies no caller.
_SHARED_PROVIDERS = ("token.actions.githubusercontent.com", "gitlab.com", "accounts.google.com")
# In a policy, these characters are wildcards or begin a variable.
_SPECIAL = frozenset("*?$")


class Role(StrEnum):
    """The duties for which s3crypt makes separate roles."""

    WRITER = "writer"
    READER = "reader"
    SECURITY_ENGINEER = "security-engineer"
    ROTATOR = "rotator"
    AUDITOR = "auditor"
    OBJECT_AUDITOR = "object-auditor"


@dataclass(frozen=True, slots=True)
class KeyARN:
    """The parts of a KMS key's ARN."""

    partition: str
    region: str
    account: str
    key_id: str

    @classmethod
    def parse(cls, arn: str) -> Self:
        """Return the parts of an ARN.

        Raises:
            ConfigError: The text is not the ARN of a key. The ARN of an alias is refused too,
                because policies name keys.
        """
        match = _KEY.fullmatch(arn)
        if match is None:
            raise ConfigError(
                f"{arn!r} is not the ARN of a KMS key.",
                hint="Policies name keys by ARN: arn:aws:kms:REGION:ACCOUNT:key/ID.",
            )
        return cls(*match.groups())


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The subject of a set of policies: one bucket, its keys, and the roles that use it.

    Attributes:
        account: The account of the bucket and of the roles.
        region: The bucket's Region.
        bucket: The bucket's name.
        key_arns: The KMS keys for `mode`, from the oldest to the newest.
        client_key_arns: Additional KMS keys for client-side encryption in the same bucket.
        partition: The partition of the account, such as `aws` or `aws-cn`.
        mode: The mode of encryption. For `client`, `key_arns` are the keys of client-side
            encryption.
        prefixes: The prefixes of object names that roles may use; empty for all names.
        env: The value of the tag `env` that callers and keys must have; if None, no tag is
            required.
        vpc_endpoints: The endpoints through which objects must be requested; empty for any network.
        identity_provider: The ARN of the SAML or OpenID Connect provider that people sign in at.
        audience: The audience of an OpenID Connect provider's tokens.
        subject: The subject of an OpenID Connect provider's tokens; `*` and `?` are wildcards.
        role_arns: The ARNs of the roles for each duty. A duty that is missing here has the role
            that `s3crypt iam init` creates.
        replication_roles: The ARNs of the roles that replicate the bucket.
        strict: Whether a put must name the encryption. If False, a put without encryption headers
            is also allowed and uses the bucket's default encryption.

    Raises:
        ConfigError: A value is malformed, or values contradict each other.
    """

    account: str
    region: str
    bucket: str
    key_arns: tuple[str, ...] = ()
    client_key_arns: tuple[str, ...] = ()
    partition: str = "aws"
    mode: Mode = "sse-kms"
    prefixes: tuple[str, ...] = ()
    env: Environment | None = None
    vpc_endpoints: tuple[str, ...] = ()
    identity_provider: str | None = None
    audience: str | None = None
    subject: str | None = None
    role_arns: Mapping[Role, tuple[str, ...]] = field(default_factory=dict)
    replication_roles: tuple[str, ...] = ()
    strict: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "role_arns", MappingProxyType(dict(self.role_arns)))
        _check_names(self)
        _check_keys(self)
        _check_provider(self)
        if self.strict and self.client_keys:
            raise ConfigError(
                "Strict policies and client-side encryption exclude each other: a client-side put "
                "names no encryption of S3's.",
                hint="Omit one of them.",
            )

    @classmethod
    def of(
        cls, bucket: str, *, account: str | None = None, region: str | None = None, **more: Any
    ) -> Self:
        """Return a scope; account, Region and partition are by default those of the first KMS key.

        Args:
            bucket: The bucket's name.
            account: The bucket's account; required without a key.
            region: The bucket's Region; required without a key, or if the key's Region differs.
            more: The remaining attributes.

        Raises:
            ConfigError: The scope refuses a value, or no key is given to derive missing values.
        """
        arns = (*more.get("key_arns", ()), *more.get("client_key_arns", ()))
        if arns:
            first = KeyARN.parse(arns[0])
            account, region = account or first.account, region or first.region
            more.setdefault("partition", first.partition)
        for name, value in (("account", account), ("Region", region)):
            if value is None:
                raise ConfigError(
                    f"The {name} of the bucket {bucket} is not known.",
                    hint="Give it, or give a key's ARN, which contains it.",
                )
        return cls(bucket=bucket, account=str(account), region=str(region), **more)

    @property
    def bucket_arn(self) -> str:
        """The bucket's ARN."""
        return f"arn:{self.partition}:s3:::{self.bucket}"

    @property
    def all_objects(self) -> str:
        """The pattern of the ARNs of all objects of the bucket."""
        return f"{self.bucket_arn}/*"

    @property
    def objects(self) -> tuple[str, ...]:
        """The patterns of the ARNs of the objects that roles may use."""
        return tuple(f"{self.bucket_arn}/{pattern}" for pattern in self.name_patterns)

    @property
    def name_patterns(self) -> tuple[str, ...]:
        """The patterns of the names of the objects that roles may use."""
        return tuple(f"{prefix}*" for prefix in self.prefixes or ("",))

    @property
    def sse_keys(self) -> tuple[str, ...]:
        """The keys of server-side encryption, which S3 uses."""
        return self.key_arns if self.mode in _KMS_MODES else ()

    @property
    def client_keys(self) -> tuple[str, ...]:
        """The keys of client-side encryption, which processes use."""
        own = self.key_arns if self.mode == "client" else ()
        return tuple(dict.fromkeys((*own, *self.client_key_arns)))

    @property
    def all_keys(self) -> tuple[str, ...]:
        """All keys, each once."""
        return tuple(dict.fromkeys((*self.sse_keys, *self.client_keys)))

    @property
    def s3_service(self) -> str:
        """The value of `kms:ViaService` when S3 uses a key for a request to the bucket."""
        return f"s3.{self.region}.amazonaws.com"

    @property
    def root(self) -> str:
        """The ARN that stands for the bucket's account in a policy."""
        return root_arn(self.partition, self.account)

    def arns_of(self, *roles: Role) -> tuple[str, ...]:
        """Return the ARNs of roles: from `role_arns`, or as `s3crypt iam init` names them."""
        return tuple(
            arn for role in roles for arn in self.role_arns.get(role) or (self._conventional(role),)
        )

    def _conventional(self, role: Role) -> str:
        name = f"{self.bucket}-{role.value}"
        return f"arn:{self.partition}:iam::{self.account}:role{ROLE_PATH}{name}"


def root_arn(partition: str, account: str) -> str:
    """Return the ARN that stands for an account in a policy."""
    return f"arn:{partition}:iam::{account}:root"


def provider_host(provider: str) -> str | None:
    """Return the host in an OpenID Connect provider's ARN, or None for a SAML provider."""
    match = _PROVIDER.fullmatch(provider)
    return match[2] if match and match[1] == "oidc" else None


def _check_names(scope: Scope) -> None:
    _check("the name of a bucket", _BUCKET, scope.bucket)
    _check("an account, which has 12 digits", _ACCOUNT, scope.account)
    _check("a Region", _REGION, scope.region)
    for endpoint in scope.vpc_endpoints:
        _check("a VPC endpoint, such as vpce-0a1b2c3d", _ENDPOINT, endpoint)
    for arn in (*(a for arns in scope.role_arns.values() for a in arns), *scope.replication_roles):
        _check("the ARN of a role", _ROLE, arn)
    if scope.env is not None and scope.env not in get_args(Environment):
        raise ConfigError(
            f"{scope.env!r} is not an environment.", hint="Name test, dev or production."
        )
    for prefix in scope.prefixes:
        if not prefix or _SPECIAL & set(prefix):
            raise ConfigError(
                f"{prefix!r} cannot be a prefix in a policy.",
                hint="Give the beginning of object names, without *, ? and $.",
            )


def _check_keys(scope: Scope) -> None:
    if scope.mode not in get_args(Mode):
        raise ConfigError(
            f"There are no policies for {scope.mode!r}.",
            hint=f"The modes are {', '.join(get_args(Mode))}. SSE-C is denied in all of them.",
        )
    for arn in (*scope.key_arns, *scope.client_key_arns):
        if KeyARN.parse(arn).account != scope.account:
            raise ConfigError(
                f"{arn} is not a key of the bucket's account {scope.account}.",
                hint="s3crypt makes policies for keys of the bucket's own account.",
            )
    if scope.mode == "sse-s3" and scope.key_arns:
        raise ConfigError(
            "sse-s3 takes no key: S3 manages the key.", hint="Give sse-kms, or omit the key."
        )
    if scope.mode != "sse-s3" and not scope.key_arns:
        raise ConfigError(
            f"Policies for {scope.mode} need the ARN of the key.",
            hint="Name a key, or the mode sse-s3.",
        )


def _check_provider(scope: Scope) -> None:
    provider = scope.identity_provider
    if provider is None:
        if scope.audience or scope.subject:
            raise ConfigError("An audience or a subject needs an identity provider.")
        return
    _check("the ARN of an identity provider", _PROVIDER, provider)
    host = provider_host(provider)
    if host is None and (scope.audience or scope.subject):
        raise ConfigError("A SAML provider takes neither an audience nor a subject.")
    if host is not None and not scope.audience:
        raise ConfigError(
            f"The identity provider {host} needs the audience of its tokens.",
            hint="The audience is the client id that is registered with the provider.",
        )
    if host is not None and host.startswith(_SHARED_PROVIDERS) and not scope.subject:
        raise ConfigError(
            f"Anyone can get a token of {host}: the audience does not identify the caller.",
            hint="Give the subject, too, such as repo:acme/reports:*.",
        )
    if host is not None and host.startswith(_SHARED_PROVIDERS) and _is_anybody(str(scope.subject)):
        raise ConfigError(
            f"Anyone can get a token of {host} with a subject such as {scope.subject}.",
            hint="Give the owner before the first wildcard, such as repo:acme/reports:*.",
        )


def _is_anybody(subject: str) -> bool:
    # Return whether a subject matches tokens of any customer. In a subject of these providers, the
    # part between the first colon and a slash names the customer, so it must not have wildcards.
    fixed = re.split(r"[*?]|\$\{", subject, maxsplit=1)[0]
    return fixed != subject and "/" not in fixed.partition(":")[2].lstrip("/")


def _check(what: str, pattern: re.Pattern[str], value: str) -> None:
    if not pattern.fullmatch(value):
        raise ConfigError(f"{value!r} is not {what}.", hint="Write it as AWS shows it.")
