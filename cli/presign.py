# SPDX-License-Identifier: Apache-2.0
"""`s3crypt presign`: a URL for one object, and the headers to send with it."""

import os
import re
import shlex
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from s3crypt.errors import ConfigError

from .completion import complete_uri
from .help import DocumentedCommand
from .options import ModeOptions, Settings, common_options, describing_options, option, parse_age
from .output import print_json, print_line, say
from .places import make_store, version_id_option

if TYPE_CHECKING:
    from s3crypt import Presigned

_MAX_FILE_NAME = 255
_HELP = """Print a URL that gets or puts one object, without credentials.

The URL is valid for an hour, or for --expires-in. SigV4 signs the URL and the headers that its
holder must send: under SSE-C the customer key, and to put an object the headers of its mode. S3
refuses a request without them. They are printed on stderr with a curl command that reads a customer
key from its file. The key itself is neither in the URL nor in the output.

There is no such URL for an object that is encrypted client-side, because S3 does not have its key.

\b
s3crypt presign s3://acme/shared/q3.csv --expires-in 7d
s3crypt presign s3://acme/shared/q4.csv --sse-c-key-file customer.key
s3crypt presign --put s3://acme/in/q4.csv --mode sse-kms \\
    --key kms:alias/reports
"""


@click.command(cls=DocumentedCommand, help=_HELP)
@click.argument("uri", metavar="S3_URI", shell_complete=complete_uri)
@common_options
@describing_options
@option("--put", is_flag=True, environment=False, help="Make a URL to put the object in this mode.")
@option(
    "--expires-in",
    default="1h",
    show_default=True,
    metavar="TIME",
    help="Seconds, or 30m, 12h or 7d; 7 days at most.",
)
@version_id_option
def presign(
    settings: Settings,
    *,
    options: ModeOptions,
    uri: str,
    put: bool,
    expires_in: str,
    version_id: str | None,
) -> None:
    """Print a URL that gets or puts one object, without credentials."""
    if put and version_id:
        raise ConfigError("--put makes a new version; not with --version-id.")
    if settings.no_sign_request:
        raise ConfigError("A URL is signed; --no-sign-request would leave it unsigned.")
    mode = options.required_mode_for(settings) if put else options.mode_for(settings)
    made = make_store(mode, settings).presign(
        uri,
        method="PUT" if put else "GET",
        expires_in=_seconds(expires_in),
        version_id=version_id,
    )
    key_file = options.values.get("sse_c_key_file")
    line = _curl(made, uri, key_file)
    if settings.json:
        print_json({**_fields(made), "curl": line})
        return
    print_line(made.url)
    if settings.quiet:
        return
    for name, value in made.headers.items():
        say(f"header: {name}: {value}")
    for name in made.key_headers:
        what = "MD5 of the key" if name.lower().endswith("md5") else "key"
        say(f"header: {name}: (base64 of the {what} in {key_file})")
    say(line)
    say(f"The URL is valid until {made.expires:%Y-%m-%d %H:%M:%S} UTC{_earlier(made)}.")


def _seconds(text: str) -> int:
    if re.fullmatch("[0-9]{1,15}", text.strip()):
        return int(text)
    age = parse_age(text) or timedelta()
    return int(age.total_seconds())


def _earlier(made: "Presigned") -> str:
    return ", or until the temporary credentials end that signed it" if made.is_temporary else ""


def _fields(made: "Presigned") -> dict[str, Any]:
    return {
        "method": made.method,
        "url": made.url,
        "headers": dict(made.headers),
        "key_headers": list(made.key_headers),
        "expires": made.expires,
        "is_temporary": made.is_temporary,
    }


def _curl(made: "Presigned", uri: str, key_file: Path | None) -> str:
    """Return the curl command that uses the URL.

    The command does not contain a customer key: it reads the key from its file through a pipe.
    """
    name = _file_name(uri)
    # Without these options, curl would expand {a,b} and [1-9] in names, and resolve dots in paths.
    words = ["curl", "-fsS", "--globoff"]
    if "/." in urlsplit(made.url).path:
        words.append("--path-as-is")
    for header, value in made.headers.items():
        words += ["-H", f"{header}: {value}"]
    words += ["-T", name] if made.method == "PUT" else ["-o", name]
    line = shlex.join([*words, made.url])
    if not made.key_headers or key_file is None:
        return line
    key = _reading(key_file)
    headers = [
        f"printf '%s: %s\\n' {header} \"$({key}{_hashed(header)} | base64 | tr -d '\\n')\""
        for header in made.key_headers
    ]
    return f"{{ {'; '.join(headers)}; }} | {line.replace('curl -fsS', 'curl -fsS -H @-', 1)}"


def _file_name(uri: str) -> str:
    """Return the last part of an object's name, changed so that curl takes it as a file's name.

    curl takes - and . for standard input. A name that no file can have is replaced by `object`.
    """
    name = uri.rstrip("/").rpartition("/")[2]
    if name in (".", "..") or len(os.fsencode(name)) > _MAX_FILE_NAME:
        return "object"
    return f"./{name}" if name.startswith("-") else name


def _hashed(header: str) -> str:
    return " | openssl dgst -md5 -binary" if header.lower().endswith("md5") else ""


def _reading(file: Path) -> str:
    """Return the shell command that writes the raw bytes of the key in a file."""
    quoted = shlex.quote(f"./{file}" if str(file).startswith("-") else str(file))
    path = file.expanduser()
    # A pipe can be read only once, and the signing code has already read it.
    content = path.read_bytes() if path.is_file() else b""
    if len(content) in (0, 32):
        return f"cat {quoted}"
    is_hex = len(content.strip()) == 64
    return f"xxd -r -p {quoted}" if is_hex else f"base64 -d < {quoted}"
