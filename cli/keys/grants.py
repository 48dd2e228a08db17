# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys grant`, `grants`, `revoke-grant` and `retire-grant`."""

from typing import TYPE_CHECKING, Any

import click

from s3crypt.errors import ConfigError

from ..asking import is_agreed
from ..help import DocumentedCommand
from ..options import Settings, common_options, option, parse_pairs
from ..output import print_json, print_line, print_table
from .common import key_argument, manager_of, moment_words, named, tell, yes_option

if TYPE_CHECKING:
    from s3crypt.kms import CreatedGrant, Grant

_GRANT_HELP = """Allow a principal or a service to use a key, without changing the key policy.

GRANTEE is the ARN of a role, user or account, or a service such as logs.amazonaws.com. You can
repeat the command: it does not make a second grant with the same name and rights. A grant with the
same name and other rights is an error.

\b
s3crypt keys grant alias/reports arn:aws:iam::111122223333:role/reader \\
    -o Decrypt --context-subset department=sales
s3crypt keys grant alias/reports logs.us-east-1.amazonaws.com -o Decrypt \\
    --source-arn arn:aws:logs:us-east-1:111122223333:log-group:audit \\
    --retiring arn:aws:iam::111122223333:role/admin
"""


@click.command(
    "grant",
    cls=DocumentedCommand,
    help=_GRANT_HELP,
    short_help="Allow a principal or a service to use a key.",
)
@key_argument
@click.argument("grantee", metavar="GRANTEE")
@option(
    "--operation",
    "-o",
    environment=False,
    multiple=True,
    required=True,
    metavar="NAME",
    help="An operation such as Decrypt or GenerateDataKey; repeatable.",
)
@option(
    "--name",
    environment=False,
    metavar="NAME",
    help="The grant's name.  [default: made from the rights]",
)
@option(
    "--context-equals",
    environment=False,
    multiple=True,
    metavar="NAME=VALUE",
    help="The whole encryption context of each request; repeatable.",
)
@option(
    "--context-subset",
    environment=False,
    multiple=True,
    metavar="NAME=VALUE",
    help="A pair in the encryption context of each request; repeatable.",
)
@option(
    "--source-arn",
    environment=False,
    metavar="ARN",
    help="The resource for which a service uses the key; required for a service.",
)
@option(
    "--retiring",
    environment=False,
    metavar="PRINCIPAL",
    help="The ARN or service that may retire the grant; required for a service.",
)
@common_options(service="kms")
def grant(
    settings: Settings,
    *,
    key: str,
    grantee: str,
    operation: tuple[str, ...],
    name: str | None,
    retiring: str | None,
    **constraints: Any,
) -> None:
    """Allow a principal or a service to use a key."""
    made = manager_of(settings).create_grant(
        named(key),
        grantee,
        operation,
        constraints=_constraints(**constraints),
        retiring=retiring,
        name=name,
    )
    if settings.json:
        existed = {"existed": made.existed, "grant_token": made.token}
        print_json({"key_arn": made.key_arn, **_fields(made.grant), **existed})
        return
    print_line(made.grant.id)
    _tell_created(settings, made)


@click.command("grants", cls=DocumentedCommand)
@key_argument
@common_options(service="kms")
def grants(settings: Settings, *, key: str) -> None:
    """List the grants of a key.

    \b
    s3crypt keys grants alias/reports
    """
    found = manager_of(settings).grants(named(key))
    if settings.json:
        for each in found:
            print_json(_fields(each))
        return
    if not found:
        tell(settings, "No grants.")
        return
    rows = [
        (each.name or "-", each.id, moment_words(each.created), each.words, _warning(each) or "-")
        for each in sorted(found, key=lambda each: (each.created is None, each.created))
    ]
    print_table(("name", "grant id", "created", "rights", "control"), rows, folded=True)


@click.command("revoke-grant", cls=DocumentedCommand)
@key_argument
@click.argument("which", metavar="GRANT")
@yes_option
@common_options(service="kms")
def revoke_grant(settings: Settings, *, key: str, which: str, yes: bool) -> None:
    """Revoke a grant, as an administrator of the key.

    GRANT is the grant's id or its name. A principal that has only this grant can no longer use the
    key.

    \b
    s3crypt keys revoke-grant alias/reports reader --yes
    """
    manager = manager_of(settings)
    found = manager.find_grant(named(key), which)
    if not is_agreed(f"Revoke {found.words}?", yes=yes):
        tell(settings, f"The grant {found.id} was not revoked.")
        return
    manager.revoke_grant(named(key), found.id)
    _tell_ended(settings, found.id, f"Revoked: {found.words}.")


@click.command("retire-grant", cls=DocumentedCommand)
@click.argument("key_arn", metavar="[KEY_ARN", required=False)
@click.argument("grant_id", metavar="GRANT_ID]", required=False)
@option("--token", environment=False, metavar="TOKEN", help="The grant token of the grant.")
@yes_option
@common_options(service="kms")
def retire_grant(
    settings: Settings, *, key_arn: str | None, grant_id: str | None, token: str | None, yes: bool
) -> None:
    """Retire a grant, as a principal that the grant allows to retire it.

    A grant may be retired by its retiring principal, by its grantee if it has the operation
    RetireGrant, and by the account in which it was made. Name the grant by the key's ARN and the
    grant's id, or by its token.

    \b
    s3crypt keys retire-grant KEY_ARN GRANT_ID --yes
    """
    if (token is None) == (grant_id is None):
        raise ConfigError("Give either KEY_ARN and GRANT_ID, or --token.")
    what = "the grant of this token" if grant_id is None else f"the grant {grant_id} of {key_arn}"
    if not is_agreed(f"Retire {what}?", yes=yes):
        tell(settings, "The grant was not retired.")
        return
    manager = manager_of(settings)
    if token is not None:
        manager.retire_grant_of(token)
    else:
        manager.retire_grant(named(str(key_arn)), str(grant_id))
    _tell_ended(settings, grant_id, f"Retired {what}.")


def _constraints(
    context_equals: tuple[str, ...], context_subset: tuple[str, ...], source_arn: str | None
) -> dict[str, Any]:
    given = {
        "EncryptionContextEquals": parse_pairs(context_equals, "--context-equals"),
        "EncryptionContextSubset": parse_pairs(context_subset, "--context-subset"),
        "SourceArn": source_arn,
    }
    return {name: value for name, value in given.items() if value}


def _tell_created(settings: Settings, made: "CreatedGrant") -> None:
    started = "The grant exists already" if made.existed else "Granted"
    tell(settings, f"{started}: {made.grant.words}. Name: {made.grant.name}.")
    if made.existed is None:
        tell(settings, "Without kms:ListGrants it is not known whether the grant existed before.")
    if not made.existed:
        tell(settings, "The grant is effective within five minutes; with its token, at once.")
    if warning := _warning(made.grant):
        tell(settings, f"warning: {warning}. To limit it: --context-subset NAME=VALUE")
    tell(settings, f"To end it: s3crypt keys revoke-grant {made.key_arn} {made.grant.id}")


def _tell_ended(settings: Settings, grant_id: str | None, words: str) -> None:
    if settings.json:
        print_json({"grant_id": grant_id, "ended": True})
        return
    tell(settings, f"{words} KMS may honour it for up to five minutes.")


def _warning(grant: "Grant") -> str:
    if grant.opens_everything:
        return "S3CRYPT.12: it allows decryption of all data under the key, without a constraint"
    return "S3CRYPT.13: it names no SourceArn" if grant.serves_any_source else ""


def _fields(grant: "Grant") -> dict[str, Any]:
    return {
        "grant_id": grant.id,
        "name": grant.name,
        "grantee": grant.grantee,
        "is_service": grant.is_service,
        "operations": grant.operations,
        "constraints": dict(grant.constraints),
        "retiring": grant.retiring,
        "created": grant.created,
        "warning": _warning(grant) or None,
    }


COMMANDS = (grant, grants, revoke_grant, retire_grant)
