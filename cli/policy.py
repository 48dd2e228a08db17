# SPDX-License-Identifier: Apache-2.0
"""`s3crypt policy`: the policies of buckets, keys and roles, printed, checked and applied."""

from typing import TYPE_CHECKING

import click

from s3crypt.errors import ConfigError
from s3crypt.policy import Role, bucket_policy, iam_policy, key_policy, trust_policy

from .help import DocumentedGroup
from .options import Settings, common_options
from .output import print_script
from .policy_apply import apply
from .policy_check import check
from .scopes import scope_options

if TYPE_CHECKING:
    from s3crypt.policy import Document, Scope

_HELP = """Make, check and apply the policies of buckets, keys and roles.

\b
s3crypt policy bucket acme > bucket.json       # what nobody may do
s3crypt policy key acme > key.json             # who uses the key
s3crypt policy iam writer acme > writer.json   # what a role may do
s3crypt policy check bucket.json key.json --as writer
s3crypt policy apply bucket.json s3://acme --dry-run
"""
_BUCKET_HELP = """Print the policy of a bucket.

The policy only denies: requests without TLS, SSE-C, a wrong mode or key, and changes of the
encryption by principals that are not key admins. A put without an encryption gets the bucket's
default; with --strict it is denied. AWS's own deliveries are allowed.

\b
s3crypt policy bucket acme
s3crypt policy bucket acme --key alias/reports --vpc-endpoint vpce-0a1b2c3d
"""
_KEY_HELP = """Print the policy of a bucket's key.

The account administers the key. Only writers, readers and rotators may use it: for objects of the
bucket, through S3 or with s3crypt's encryption context.

\b
s3crypt policy key acme
s3crypt policy key acme --key alias/reports --env production
"""
_IAM_HELP = """Print what a role may do.

ROLE: writer, reader, security-engineer, rotator, auditor, object-auditor.

`s3crypt iam init` makes the roles themselves.

\b
s3crypt policy iam writer acme
s3crypt policy iam object-auditor acme --prefix 2026/q3/
"""
_TRUST_HELP = """Print who may assume a role.

ROLE: writer, reader, security-engineer, rotator, auditor, object-auditor.

\b
s3crypt policy trust security-engineer acme
"""
_role_argument = click.argument(
    "role", metavar="ROLE", type=click.Choice([role.value for role in Role])
)


@click.group(cls=DocumentedGroup, help=_HELP)
def policy() -> None:
    """Make, check and apply the policies of buckets, keys and roles."""


@policy.command(help=_BUCKET_HELP)
@common_options(service="aws")
@scope_options
def bucket(settings: Settings, *, scope: "Scope") -> None:
    """Print the policy of a bucket."""
    _print(settings, bucket_policy(scope))


@policy.command(help=_KEY_HELP)
@common_options(service="aws")
@scope_options
def key(settings: Settings, *, scope: "Scope") -> None:
    """Print the policy of a bucket's key."""
    documents = [key_policy(scope, arn) for arn in scope.all_keys]
    if not documents:
        raise ConfigError(
            f"The bucket {scope.bucket} has no KMS key.", hint="Name the key: --key ARN"
        )
    if any(each.meaning != documents[0].meaning for each in documents):
        raise ConfigError(
            "The keys have different policies.",
            hint=(
                "Run the command once per key; with --mode client, --key is a key of client-side "
                "encryption."
            ),
        )
    _print(settings, documents[0])


@policy.command(help=_IAM_HELP)
@_role_argument
@common_options(service="aws")
@scope_options
def iam(settings: Settings, *, role: str, scope: "Scope") -> None:
    """Print what a role may do."""
    _print(settings, iam_policy(Role(role), scope))


@policy.command(help=_TRUST_HELP)
@_role_argument
@common_options(service="aws")
@scope_options
def trust(settings: Settings, *, role: str, scope: "Scope") -> None:
    """Print who may assume a role."""
    _print(settings, trust_policy(Role(role), scope))


policy.add_command(check)
policy.add_command(apply)


def _print(settings: Settings, document: "Document") -> None:
    """Print a document as JSON, with --json on one line."""
    print_script(document.render(indent=None if settings.json else 2))
