# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys create`."""

import dataclasses
from pathlib import Path

import click

from s3crypt.errors import ConfigError, StorageError

from ..help import DocumentedCommand
from ..options import Settings, common_options, option, parse_pairs
from ..output import print_json, print_line
from .common import DEFAULT_PERIOD_DAYS, manager_of, rotation_words, tell


@click.command(cls=DocumentedCommand)
@option("--alias", environment=False, metavar="NAME", help="A name for the key: alias/NAME.")
@option(
    "--description", environment=False, default="", metavar="TEXT", help="The purpose of the key."
)
@option("--tag", environment=False, multiple=True, metavar="NAME=VALUE", help="Repeatable.")
@option(
    "--policy",
    environment=False,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The key policy (JSON); without it the account's IAM policies decide.",
)
@option(
    "--multi-region",
    environment=False,
    is_flag=True,
    help="A multi-Region key, which can be replicated to other Regions.",
)
@option(
    "--period-days",
    type=int,
    metavar="DAYS",
    help=f"The period of automatic rotation, 90 to 2560.  [default: {DEFAULT_PERIOD_DAYS}]",
)
@option(
    "--imported-material",
    environment=False,
    is_flag=True,
    help="A key for material of your own: `s3crypt keys import-material`.",
)
@option("--no-rotation", environment=False, is_flag=True, help="No automatic rotation.")
@common_options(service="kms")
def create(
    settings: Settings,
    *,
    alias: str | None,
    description: str,
    tag: tuple[str, ...],
    policy: Path | None,
    multi_region: bool,
    period_days: int | None,
    no_rotation: bool,
    imported_material: bool,
) -> None:
    """Create a symmetric key and print its ARN.

    \b
    s3crypt keys create --alias payroll --description "Pay slips"
    """
    key = manager_of(settings).create(
        alias=alias,
        description=description,
        tags=parse_pairs(tag, "--tag"),
        policy=None if policy is None else _read_policy(policy),
        multi_region=multi_region,
        rotation_period_days=_period(period_days, no_rotation=no_rotation or imported_material),
        imported_material=imported_material,
    )
    if settings.json:
        print_json(dataclasses.asdict(key))
        return
    print_line(key.arn)
    name = key.aliases[0] if key.aliases else key.arn
    tell(settings, f"Created {name}. Automatic rotation: {rotation_words(key)}.")
    if imported_material:
        tell(settings, f"Its key material: s3crypt keys import-material {name} FILE")
        return
    tell(settings, f"To encrypt with it: s3crypt put FILE s3://BUCKET/NAME --key kms:{name}")


def _period(days: int | None, *, no_rotation: bool) -> int | None:
    if not no_rotation:
        return DEFAULT_PERIOD_DAYS if days is None else days
    source = click.get_current_context().get_parameter_source("period_days")
    if source is click.core.ParameterSource.COMMANDLINE:
        raise ConfigError("--period-days excludes --no-rotation and --imported-material.")
    return None


def _read_policy(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file.") from error


COMMANDS = (create,)
