# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys replicas`, `replicate` and `set-primary`: multi-Region keys."""

import dataclasses

import click

from s3crypt.errors import S3CryptError

from ..asking import is_agreed
from ..help import DocumentedCommand
from ..options import Settings, common_options, option
from ..output import print_json, print_line, print_table
from .common import key_argument, manager_of, named, tell, yes_option


@click.command(cls=DocumentedCommand)
@key_argument
@common_options(service="kms")
def replicas(settings: Settings, *, key: str) -> None:
    """List the keys of a multi-Region key in all Regions.

    \b
    s3crypt keys replicas alias/global
    """
    found = manager_of(settings).replicas(named(key))
    if settings.json:
        for each in found:
            print_json({**dataclasses.asdict(each), "region": each.region})
        return
    rows = [
        (
            each.region,
            "primary" if each.is_primary else "replica",
            each.state or f"unknown: {each.reason}",
            each.arn,
        )
        for each in found
    ]
    print_table(("region", "kind", "state", "key"), rows)


@click.command(cls=DocumentedCommand)
@key_argument
@click.argument("to_region", metavar="REGION")
@option(
    "--alias", environment=False, metavar="NAME", help="An alias for the replica in that Region."
)
@common_options(service="kms")
def replicate(settings: Settings, *, key: str, to_region: str, alias: str | None) -> None:
    """Replicate a multi-Region key to another Region, and print the replica's ARN.

    Both keys have the same id and key material, so each decrypts data of the other. KMS
    synchronises nothing else: the replica has KMS's default policy, and no aliases, grants or tags.
    An existing replica is not changed.

    \b
    s3crypt keys replicate alias/global eu-west-1
    """
    manager = manager_of(settings)
    made = manager.replicate(named(key), to_region)
    if alias is not None and f"alias/{alias.removeprefix('alias/')}" not in made.aliases:
        try:
            made = manager.add_alias(made.arn, alias)
        except S3CryptError as error:
            error.hint = (
                f"The replica is made. To name it: s3crypt keys add-alias {made.arn} {alias}"
            )
            raise
    if settings.json:
        print_json(dataclasses.asdict(made))
        return
    print_line(made.arn)
    tell(settings, "Its policy is its own, KMS's default one in a new replica.")
    tell(settings, f"To see it: s3crypt keys policy show {made.arn} --words")
    if made.state == "PendingImport":
        tell(settings, f"It needs the same material: s3crypt keys import-material {made.arn} FILE")


@click.command("set-primary", cls=DocumentedCommand)
@key_argument
@click.argument("to_region", metavar="REGION")
@option("--wait", is_flag=True, environment=False, help="Wait until KMS has finished.")
@yes_option
@common_options(service="kms")
def set_primary(settings: Settings, *, key: str, to_region: str, wait: bool, yes: bool) -> None:
    """Make the replica in REGION the primary key of a multi-Region key.

    Only the primary key can be replicated, rotated and given new material, and it cannot be deleted
    before its replicas. Encryption and decryption continue in every Region meanwhile.

    \b
    s3crypt keys set-primary alias/global eu-west-1 --wait --yes
    """
    manager = manager_of(settings)
    if not is_agreed(f"Make the key in {to_region} the primary key of {named(key)}?", yes=yes):
        tell(settings, "The primary key was not changed.")
        return
    found = manager.set_primary(named(key), to_region, wait=wait)
    if settings.json:
        print_json(dataclasses.asdict(found))
        return
    print_line(found.arn)
    if found.state == "Updating" or found.replica_of is not None:
        tell(settings, f"KMS finishes it in some seconds: s3crypt keys replicas {found.arn}")
    else:
        tell(settings, f"The primary key is {found.arn}.")


COMMANDS = (replicas, replicate, set_primary)
