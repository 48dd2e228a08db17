# SPDX-License-Identifier: Apache-2.0
"""Commands for buckets and key files: mb, rb and keygen."""

import contextlib
import os
import secrets
import shlex
from pathlib import Path

import click

from s3crypt.errors import ConfigError, StorageError
from s3crypt.location import Location

from .completion import complete_uri
from .help import DocumentedCommand
from .options import Settings, common_options, option
from .output import print_json, print_line, say
from .places import make_store

_MB_HELP = """Make a bucket in the session's Region, or in --region.

The bucket has AWS's defaults: SSE-S3, no public access, no versions. It refuses objects under
customer keys (SSE-C), as all new buckets do since April 2026. `s3crypt bucket init` makes a bucket
that passes an audit. A bucket that you already own is not changed.

\b
s3crypt mb s3://acme-new
s3crypt mb s3://acme-new-eu --region eu-west-1
"""
_RB_HELP = """Remove an empty bucket.

A bucket with objects, old versions or unfinished uploads is not removed; the exit code is 5.

\b
s3crypt rb s3://acme-new
"""
_KEYGEN_HELP = """Make a key file that only its owner can read.

The key has 32 random bytes, for --key aes:... or for --sse-c-key-file. With --rsa it is a pair of
RSA keys in PEM: the private key in FILE, and the public key, which only encrypts, in FILE.pub. No
file is ever overwritten. Without its key, no object can be read: keep a copy elsewhere.

\b
s3crypt keygen reports.key
s3crypt keygen reports.pem --rsa
"""
_DEFAULT_BITS = 4096
_NAMESPACE = "local"


@click.command(cls=DocumentedCommand, help=_MB_HELP)
@click.argument("bucket", metavar="S3_URI")
@common_options
def mb(settings: Settings, *, bucket: str) -> None:
    """Make a bucket in the session's Region, or in --region."""
    store = make_store(None, settings)
    is_new = store.make_bucket(bucket)
    name, region = _bucket(bucket), store.client.meta.region_name
    if settings.json:
        print_json({"action": "made" if is_new else "kept", "bucket": name, "region": region})
    elif settings.quiet:
        return
    elif not is_new:
        say(f"s3://{name} already belongs to you, in {region}; nothing was changed")
    else:
        say(f"made s3://{name} in {region}; on AWS, a new bucket refuses SSE-C (customer keys)")
        say(f"hint: To make a bucket that passes an audit: s3crypt bucket init {name}")


@click.command(cls=DocumentedCommand, help=_RB_HELP)
@click.argument("bucket", metavar="S3_URI", shell_complete=complete_uri)
@common_options
def rb(settings: Settings, *, bucket: str) -> None:
    """Remove an empty bucket."""
    make_store(None, settings).remove_bucket(bucket)
    name = _bucket(bucket)
    if settings.json:
        print_json({"action": "removed", "bucket": name})
    elif not settings.quiet:
        say(f"removed s3://{name}")


def _bucket(text: str) -> str:
    return Location.parse(text if "://" in text else f"s3://{text}").bucket


@click.command(cls=DocumentedCommand, help=_KEYGEN_HELP)
@click.argument("file", type=click.Path(path_type=Path))
@option("--json", is_flag=True, help="Print one JSON object per line, for programs.")
@option("--quiet", "-q", is_flag=True, help="Print only errors: no remarks.")
@option(
    "--rsa",
    is_flag=False,
    flag_value=_DEFAULT_BITS,
    type=click.Choice(("2048", "3072", "4096")),
    environment=False,
    metavar="[BITS]",
    help=f"A pair of RSA keys instead: 2048, 3072 or {_DEFAULT_BITS} bits.  [{_DEFAULT_BITS}]",
)
def keygen(*, file: Path, json: bool, quiet: bool, rsa: str | None) -> None:
    """Make a key file that only its owner can read."""
    if str(file) == "-":
        raise ConfigError("A key cannot be printed.", hint="Name a file: s3crypt keygen FILE")
    if file.is_dir():
        raise ConfigError(f"{file} is a directory.", hint="Name the file in it.")
    public = file.with_name(f"{file.name}.pub")
    if rsa is None:
        _write_new({file: secrets.token_bytes(32)})
    else:
        private_text, public_text = _rsa_pair(int(rsa))
        _write_new({file: private_text, public: public_text})
    # The options expand a ~ at the beginning to a home directory. "./" prevents this.
    tilde = "./" if str(file).startswith("~") else ""
    spelling = f"{'aes' if rsa is None else 'rsa'}:{_NAMESPACE}/{_name(file)}={tilde}"
    uses = {"key": f"--key {shlex.quote(f'{spelling}{file}')}"}
    if rsa is None:
        uses["sse_c"] = f"--sse-c-key-file {shlex.quote(f'{tilde}{file}')}"
    else:
        uses["public"] = f"--key {shlex.quote(f'{spelling}{public}')}"
    if json:
        print_json({"file": str(file), "public_file": str(public) if rsa else None, **uses})
    elif not quiet:
        remarks = {"key": "", "sse_c": "  (SSE-C)", "public": "  (only encrypts)"}
        for name, use in uses.items():
            print_line(f"{use}{remarks[name]}")
        say("Its namespace and name are kept in every object: write them the same way each time.")


def _name(file: Path) -> str:
    """Return a name for the key: the file's name without its suffix and without delimiters.

    Unprintable characters are replaced too, because users copy the name from the terminal.
    """
    return "".join("-" if c in "/=" or not c.isprintable() else c for c in file.stem) or "key"


def _rsa_pair(bits: int) -> tuple[bytes, bytes]:
    """Return a private key as PKCS#8, and its public key, both in PEM."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - takes 40 ms
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415

    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public


def _write_new(contents: dict[Path, bytes]) -> None:
    """Write new files that only their owner can read; after an error, leave no file.

    Raises:
        ConfigError: One of the files exists.
        StorageError: A file cannot be written.
    """
    made: list[Path] = []
    path = Path()
    try:
        for path, content in contents.items():
            # O_EXCL follows no link and overwrites nothing.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            made.append(path)
            # The umask may have removed permissions of the owner.
            os.fchmod(descriptor, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
    except BaseException as error:
        for each in made:
            with contextlib.suppress(OSError):
                each.unlink()
        if isinstance(error, FileExistsError):
            raise ConfigError(
                f"{path} exists; a key file is never overwritten.", hint="Name another file."
            ) from error
        if isinstance(error, OSError):
            raise StorageError(
                f"Cannot write {path}: {error.strerror}.",
                hint="Check the folder and its permissions.",
            ) from error
        raise
