# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys import-material`, `import-parameters`, `materials` and `delete-material`."""

import dataclasses
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from s3crypt.errors import ConfigError, LocalFileNotFoundError, StorageError

from ..asking import is_agreed
from ..help import DocumentedCommand
from ..options import Settings, common_options, option
from ..output import print_json, print_line, print_table
from .common import key_argument, manager_of, moment_words, named, tell, yes_option

if TYPE_CHECKING:
    from s3crypt.kms import Imported, Importing, Material

_PUBLIC_KEY, _TOKEN = "wrapping-key.der", "import-token.bin"
# An import token and wrapped material have some hundred bytes; KMS accepts at most 6,144.
_MAX_LENGTH = 6144
_NEVER = "never"

_IMPORT_HELP = """Import key material into a key made with --imported-material.

FILE has exactly 32 bytes, and only you should be able to read it. The bytes are wrapped on this
machine by RSAES_OAEP_SHA_256, so that only KMS can unwrap them. You cannot get them back from KMS:
keep the file in a safe place as long as data is encrypted under the key.

The first import makes the key usable, and a repeated import restores material that expired or was
deleted. To import new material for a key that already has material, give --new. KMS uses the new
material from the next rotation on.

Material in a hardware security module is wrapped there: `s3crypt keys import-parameters` writes the
public key and the token, and --wrapped and --token import the result.

\b
s3crypt keys import-material alias/imported material.bin --expires 2027-06-30
s3crypt keys import-material alias/imported next.bin --new
"""


@click.command(
    "import-material", cls=DocumentedCommand, help=_IMPORT_HELP, short_help="Import key material."
)
@key_argument
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@option(
    "--expires",
    environment=False,
    metavar="WHEN",
    default=_NEVER,
    show_default=True,
    help="When KMS deletes the material: a time, in UTC unless it has a zone.",
)
@option("--new", "is_new", is_flag=True, environment=False, help="Material for the next rotation.")
@option("--description", environment=False, metavar="TEXT", help="A description of the material.")
@option(
    "--wrapped",
    environment=False,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Material that another machine wrapped.",
)
@option(
    "--token",
    environment=False,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The import token that belongs to --wrapped.",
)
@common_options(service="kms")
def import_material(
    settings: Settings,
    *,
    key: str,
    file: Path | None,
    wrapped: Path | None,
    token: Path | None,
    **how: Any,
) -> None:
    """Import key material."""
    if (wrapped is None) != (token is None) or (file is None) == (wrapped is None):
        raise ConfigError("Give either FILE, or --wrapped and --token.")
    manager, importing = manager_of(settings), _importing(**how)
    if file is not None:
        done = manager.import_material(named(key), file, **dataclasses.asdict(importing))
    else:
        parts = (_read(Path(str(wrapped))), _read(Path(str(token))))
        done = manager.import_wrapped_material(named(key), *parts, importing)
    _tell_imported(settings, done, importing)


@click.command("import-parameters", cls=DocumentedCommand)
@key_argument
@option(
    "--out",
    environment=False,
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where to write the two files.",
)
@common_options(service="kms")
def import_parameters(settings: Settings, *, key: str, out: Path) -> None:
    """Write the public key and the token to wrap material on another machine.

    Wrap the 32 bytes by RSAES_OAEP_SHA_256 under the key in wrapping-key.der (RSA 4096, DER)
    within 24 hours. Both files replace earlier ones in FOLDER.

    \b
    s3crypt keys import-parameters alias/imported --out import
    """
    _check_folder(out)
    found = manager_of(settings).import_parameters(named(key))
    public_key, token = out / _PUBLIC_KEY, out / _TOKEN
    _write(public_key, found.public_key)
    _write(token, found.token)
    if settings.json:
        files = {"public_key": str(public_key), "token": str(token)}
        print_json({"key_arn": found.key_arn, **files, "expires": found.expires})
        return
    print_line(str(public_key))
    print_line(str(token))
    tell(settings, f"KMS accepts them until {moment_words(found.expires)}. Then:")
    command = f"s3crypt keys import-material {found.key_arn} --wrapped FILE --token {token}"
    tell(settings, command)


@click.command(cls=DocumentedCommand)
@key_argument
@common_options(service="kms")
def materials(settings: Settings, *, key: str) -> None:
    """List the key materials of a key, with their states and expiry.

    \b
    s3crypt keys materials alias/reports
    """
    found = manager_of(settings).materials(named(key))
    if settings.json:
        for each in found:
            print_json(dataclasses.asdict(each))
        return
    if not found:
        tell(settings, "No key material.")
        return
    rows = [
        (
            each.id,
            _state(each),
            moment_words(each.since) or "-",
            moment_words(each.expires) or _NEVER,
            each.description or "-",
        )
        for each in found
    ]
    print_table(("key material", "state", "current since", "expires", "description"), rows)


@click.command("delete-material", cls=DocumentedCommand)
@key_argument
@option(
    "--material",
    environment=False,
    metavar="ID",
    help="The id of the material.  [default: the current material]",
)
@yes_option
@common_options(service="kms")
def delete_material(settings: Settings, *, key: str, material: str | None, yes: bool) -> None:
    """Delete imported key material at once.

    No data under the key can be decrypted until the same bytes are imported again. Without a copy
    of the bytes the data is lost. To count the objects: `s3crypt keys impact KEY --account`.

    \b
    s3crypt keys delete-material alias/imported --yes
    """
    manager = manager_of(settings)
    if material is not None and not re.fullmatch("[0-9a-f]{64}", material):
        raise ConfigError(
            f"{material!r} is not the id of a key material.",
            hint=f"List the materials: s3crypt keys materials {named(key)}",
        )
    # Use the ARN from here on, because the alias may move before the person confirms.
    arn = manager.delete_material(named(key), material, dry_run=True)
    listed = manager.materials(arn) if material else ()
    tell(settings, _consequence(listed, material, named(key)))
    if not is_agreed(f"Delete the material of {named(key)}?", yes=yes):
        tell(settings, "The material was not deleted.")
        return
    manager.delete_material(arn, material)
    if settings.json:
        print_json({"key_arn": arn, "material": material, "deleted": True})
        return
    tell(settings, f"Deleted. To restore it: s3crypt keys import-material {arn} FILE")


def _consequence(found: "tuple[Material, ...]", material: str | None, key: str) -> str:
    is_pending = any(each.id == material and each.state.startswith("PENDING") for each in found)
    if is_pending:
        return "The material is not in use yet: nothing becomes unreadable."
    return (
        f"All data under {key} becomes unreadable until the same bytes are imported again. To "
        f"count it: s3crypt keys impact {key} --account"
    )


def _importing(*, expires: str, is_new: bool, description: str | None) -> "Importing":
    from s3crypt.kms import Importing  # noqa: PLC0415 - boto3

    return Importing(expires=_moment(expires), is_new=is_new, description=description)


def _moment(text: str) -> datetime | None:
    if text == _NEVER:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--expires takes a time or {_NEVER}, not {text!r}.",
            hint="Write 2027-06-30 or 2027-06-30T18:00+02:00.",
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _tell_imported(settings: Settings, done: "Imported", how: "Importing") -> None:
    if settings.json:
        print_json(dataclasses.asdict(done))
        return
    material = done.material
    print_line(material.id if material else done.key_arn)
    expires = None if how.expires is None else how.expires.astimezone(UTC)
    expiry = moment_words(expires) or _NEVER
    tell(settings, f"Imported into {done.key_arn}. Expires: {expiry}.")
    for replica in done.missing_in:
        tell(
            settings,
            f"The replica needs the same material: s3crypt keys import-material {replica} FILE",
        )
    if material is not None and material.state.startswith("PENDING"):
        then = "Then rotate" if done.missing_in else "Rotate"
        tell(settings, f"{then} the key to it: s3crypt keys rotate {done.primary_arn}")


def _state(material: "Material") -> str:
    words = material.state.lower().replace("_", " ")
    return f"{words}, not imported" if material.is_present is False else words


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise LocalFileNotFoundError(f"{folder}: no such folder.", hint="Create the folder first.")


def _write(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(content)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}.") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_LENGTH + 1)
    except FileNotFoundError as error:
        raise LocalFileNotFoundError(f"{path}: no such file.", hint="Check the path.") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}.") from error
    if not 0 < len(content) <= _MAX_LENGTH:
        raise ConfigError(f"{path} is neither wrapped key material nor an import token.")
    return content


COMMANDS = (import_material, import_parameters, materials, delete_material)
