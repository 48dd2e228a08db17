# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys`: create, look at and rotate KMS keys.

Rotating a key changes no objects in S3; `s3crypt rotate` moves objects to another key.
"""

import dataclasses
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from s3crypt.errors import ConfigError, StorageError

from .options import Settings, common_options, option, parse_pairs
from .output import print_json, print_line, print_table, say

if TYPE_CHECKING:
    from s3crypt.kms import Key, KeyManager, KeySummary

_key_argument = click.argument("key", metavar="KEY")
_DEFAULT_PERIOD_DAYS = 365
_ON_DEMAND = "ON_DEMAND"


@click.group()
def keys() -> None:
    """Create, look at and rotate KMS keys.

    KEY is a key id, a key ARN or alias/NAME.
    """


@keys.command()
@option("--alias", environment=False, metavar="NAME", help="A name for the key: alias/NAME.")
@option("--description", environment=False, default="", metavar="TEXT", help="What it is for.")
@option("--tag", environment=False, multiple=True, metavar="NAME=VALUE", help="Repeatable.")
@option(
    "--policy",
    environment=False,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The key policy (JSON); without it the account's IAM policies decide.",
)
@option("--multi-region", environment=False, is_flag=True, help="Can be replicated elsewhere.")
@option(
    "--period-days",
    type=int,
    metavar="DAYS",
    help=f"Rotate automatically so often, 90 to 2560.  [default: {_DEFAULT_PERIOD_DAYS}]",
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
) -> None:
    """Create a symmetric key and print its ARN."""
    key = _manager(settings).create(
        alias=alias,
        description=description,
        tags=parse_pairs(tag, "--tag"),
        policy=None if policy is None else _read_policy(policy),
        multi_region=multi_region,
        rotation_period_days=_period(period_days, no_rotation=no_rotation),
    )
    if settings.json:
        print_json(dataclasses.asdict(key))
        return
    print_line(key.arn)
    name = key.aliases[0] if key.aliases else key.arn
    _tell(settings, f"Created {name}. Automatic rotation: {_rotation(key)}.")
    _tell(settings, f"To encrypt with it: s3crypt put FILE s3://BUCKET/NAME --key kms:{name}")


@keys.command("list")
@common_options(service="kms")
def list_keys(settings: Settings) -> None:
    """List your own keys, not those AWS manages."""
    found = _manager(settings).list()
    if settings.json:
        for summary in found:
            print_json(dataclasses.asdict(summary))
        return
    rows = sorted(_rows(found), key=lambda row: (row[0] == "-", row))
    if rows:
        print_table(("alias", "key id", "state", "rotation"), rows)
    else:
        _tell(settings, "No keys. To create one: s3crypt keys create --alias NAME")


@keys.command()
@_key_argument
@common_options(service="kms")
def show(settings: Settings, *, key: str) -> None:
    """Show all there is to know about a key."""
    found = _manager(settings).show(_named(key))
    if settings.json:
        print_json(dataclasses.asdict(found))
        return
    print_table(("key", found.arn), [line for line in _lines(found) if line[1]])
    if found.not_permitted:
        _tell(settings, f"Not shown, for lack of permission: {', '.join(found.not_permitted)}")


@keys.command()
@_key_argument
@common_options(service="kms")
def rotate(settings: Settings, *, key: str) -> None:
    """Give a key new key material now, under the same id.

    Nothing in S3 changes: objects keep their data keys and stay readable. To move objects to
    another key: `s3crypt rotate`.
    """
    rotated = _manager(settings).rotate(_named(key))
    if settings.json:
        print_json(dataclasses.asdict(rotated))
        return
    _tell(settings, f"New key material for {rotated.arn}. Nothing in S3 changes.")
    if rotated.rotating_since is not None:
        _tell(settings, "KMS finishes it in the background; `s3crypt keys rotations` tells when.")


@keys.command()
@_key_argument
@common_options(service="kms")
def rotations(settings: Settings, *, key: str) -> None:
    """List the completed rotations of a key, oldest first."""
    done = _manager(settings).rotations(_named(key))
    if settings.json:
        for rotation in done:
            print_json(dataclasses.asdict(rotation))
        return
    if not done:
        _tell(settings, "Never rotated.")
        return
    rows = [(_moment(each.date), _cause(each.type), each.material_id or "-") for each in done]
    print_table(("date", "rotation", "key material"), rows)


@keys.command("enable-rotation")
@_key_argument
@option(
    "--period-days",
    type=int,
    default=_DEFAULT_PERIOD_DAYS,
    show_default=True,
    metavar="DAYS",
    help="How often, 90 to 2560.",
)
@common_options(service="kms")
def enable_rotation(settings: Settings, *, key: str, period_days: int) -> None:
    """Rotate a key automatically."""
    _report(settings, _manager(settings).enable_rotation(_named(key), period_days=period_days))


@keys.command("disable-rotation")
@_key_argument
@common_options(service="kms")
def disable_rotation(settings: Settings, *, key: str) -> None:
    """Stop the automatic rotation of a key."""
    _report(settings, _manager(settings).disable_rotation(_named(key)))


def _manager(settings: Settings) -> "KeyManager":
    from s3crypt.kms import KeyManager  # noqa: PLC0415 - boto3, which --help must not cost

    return KeyManager(session=settings.session, allow_plain_http=settings.allow_plain_http)


def _named(key: str) -> str:
    # --key of other commands accepts a key with this prefix.
    return key.removeprefix("kms:")


def _period(days: int | None, *, no_rotation: bool) -> int | None:
    if not no_rotation:
        return _DEFAULT_PERIOD_DAYS if days is None else days
    source = click.get_current_context().get_parameter_source("period_days")
    if source is click.core.ParameterSource.COMMANDLINE:
        raise ConfigError("--period-days and --no-rotation exclude each other.")
    return None


def _read_policy(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file.") from error


def _report(settings: Settings, key: "Key") -> None:
    if settings.json:
        print_json(dataclasses.asdict(key))
    else:
        _tell(settings, f"{key.arn}: automatic rotation {_rotation(key)}.")


def _tell(settings: Settings, text: str) -> None:
    if not settings.silent:
        say(text)


def _rows(found: "Iterator[KeySummary]") -> Iterator[tuple[str, str, str, str]]:
    for key in found:
        aliases = ", ".join(key.aliases) or "-"
        yield aliases, key.key_id, key.state or "not permitted", _rotation(key)


def _rotation(key: "Key | KeySummary") -> str:
    if key.rotation_enabled is None:
        return "-"
    if not key.rotation_enabled:
        return "off"
    return f"every {key.rotation_period_days} days" if key.rotation_period_days else "on"


def _lines(key: "Key") -> list[tuple[str, str]]:
    used = key.on_demand_rotations
    return [
        ("aliases", ", ".join(key.aliases)),
        ("description", key.description),
        ("state", key.state),
        ("to be deleted", _moment(key.deletion_date)),
        ("created", _moment(key.created)),
        ("kind", f"{key.spec}, {key.usage}, {key.origin}, {key.manager}"),
        ("multi-region", _regions(key)),
        ("automatic rotation", _rotation(key)),
        ("next rotation", _moment(key.next_rotation)),
        ("rotating since", _moment(key.rotating_since)),
        ("rotated on demand", "" if used is None else f"{used} of at most 25 times"),
        ("key material", key.material_id or ""),
        ("tags", ", ".join(f"{name}={value}" for name, value in sorted(key.tags.items()))),
    ]


def _regions(key: "Key") -> str:
    if not key.multi_region:
        return "no"
    return f"replica of {key.replica_of}" if key.replica_of else "primary"


def _cause(rotation_type: str) -> str:
    return "on demand" if rotation_type == _ON_DEMAND else rotation_type.lower()


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"
