# SPDX-License-Identifier: Apache-2.0
"""The options for a policy's scope: its bucket, keys and conditions."""

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from s3crypt.errors import ConfigError
from s3crypt.policy import Role

from .options import Command, Settings, option

if TYPE_CHECKING:
    from s3crypt.policy_reading import PolicyReader

_ROLES = [role.value for role in Role]
_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    option(
        "--key",
        "key_arns",
        environment=False,
        multiple=True,
        metavar="KEY",
        help="KMS key of the objects; repeatable.  [default: that of the bucket's encryption]",
    ),
    option(
        "--client-key",
        "client_key_arns",
        environment=False,
        multiple=True,
        metavar="KEY",
        help="KMS key of client-side encryption in the same bucket; repeatable.",
    ),
    option(
        "--mode",
        environment=False,
        type=click.Choice(("sse-s3", "sse-kms", "dsse-kms", "client")),
        help="Who encrypts.  [default: sse-kms with --key, else the bucket's]",
    ),
    option(
        "--prefix",
        "prefixes",
        environment=False,
        multiple=True,
        metavar="PREFIX",
        help="Roles may use only objects below this prefix; repeatable.",
    ),
    option(
        "--env",
        environment=False,
        type=click.Choice(("test", "dev", "production")),
        help="Callers and keys must have the tag env with this value.",
    ),
    option(
        "--vpc-endpoint",
        "vpc_endpoints",
        environment=False,
        multiple=True,
        metavar="ID",
        help="Objects are accessible only through this VPC endpoint; repeatable.",
    ),
    option(
        "--identity-provider",
        environment=False,
        metavar="ARN",
        help="Roles may be assumed only through this SAML or OpenID Connect provider.",
    ),
    option(
        "--audience",
        environment=False,
        metavar="ID",
        help="The audience of an OpenID Connect provider's tokens.",
    ),
    option(
        "--subject",
        environment=False,
        metavar="PATTERN",
        help="The subject of an OpenID Connect provider's tokens.",
    ),
    option(
        "--strict",
        environment=False,
        is_flag=True,
        help="Demand that each put names the encryption.",
    ),
    option(
        "--role-arn",
        "role_arns",
        environment=False,
        multiple=True,
        metavar="ROLE=ARN",
        help=f"The ARN of a role whose name is not BUCKET-ROLE. ROLE: {', '.join(_ROLES)}",
    ),
    option(
        "--replication-role",
        "replication_roles",
        environment=False,
        multiple=True,
        metavar="ARN",
        help=(
            "The role that S3 uses to replicate the bucket; repeatable.  [default: without --key, "
            "that of the bucket's replication]"
        ),
    ),
    option(
        "--account",
        environment=False,
        metavar="ID",
        help="The bucket's account.  [default: the key's, else yours]",
    ),
)


def scope_options(command: Command) -> Command:
    """Give a command the argument BUCKET and its `scope`; apply this below `common_options`."""

    @functools.wraps(command)
    def wrapper(settings: Settings, *, bucket: str, **values: Any) -> Any:
        given = taken(values)
        scope = reader_of(settings).scope(bucket_name(bucket), **given)
        return command(settings, scope=scope, **values)

    return click.argument("bucket", metavar="BUCKET")(scope_value_options(wrapper))


def scope_value_options(command: Command) -> Command:
    """Give a command the options of a scope; `taken` extracts their values."""
    for add in reversed(_OPTIONS):
        command = add(command)
    return command


def taken(values: dict[str, Any]) -> dict[str, Any]:
    """Remove the values of a scope's options from a command's arguments, and return them.

    Raises:
        ConfigError: A value of --role-arn is not ROLE=ARN.
    """
    names = (
        "key_arns", "client_key_arns", "mode", "prefixes", "env", "vpc_endpoints",
        "identity_provider", "audience", "subject", "strict", "role_arns",
        "replication_roles", "account",
    )  # fmt: skip
    given = {name: values.pop(name) for name in names}
    for name in ("key_arns", "client_key_arns"):
        given[name] = tuple(key.removeprefix("kms:") for key in given[name])
    given["role_arns"] = _roles(given["role_arns"])
    return given


def reader_of(settings: Settings) -> "PolicyReader":
    """Return a reader of policies with these settings."""
    from s3crypt.policy_reading import PolicyReader  # noqa: PLC0415 - boto3

    return PolicyReader(
        session=settings.session,
        expected_bucket_owner=settings.expected_bucket_owner,
        allow_plain_http=settings.allow_plain_http,
    )


def bucket_name(text: str) -> str:
    """Return the bucket of NAME or s3://NAME.

    Raises:
        ConfigError: The text names an object.
    """
    name, _, rest = text.removeprefix("s3://").partition("/")
    if rest or not name:
        raise ConfigError(
            f"{text} does not name a bucket.", hint=f"Name only the bucket: s3://{name or 'NAME'}"
        )
    return name


def _roles(pairs: Iterable[str]) -> dict[Role, tuple[str, ...]]:
    found: dict[Role, tuple[str, ...]] = {}
    for pair in pairs:
        name, equals, arn = pair.partition("=")
        if not equals or name not in _ROLES:
            raise ConfigError(
                f"--role-arn takes ROLE=ARN, not {pair!r}.", hint=f"ROLE is {', '.join(_ROLES)}."
            )
        found[Role(name)] = (*found.get(Role(name), ()), arn)
    return found
