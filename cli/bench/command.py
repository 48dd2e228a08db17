# SPDX-License-Identifier: Apache-2.0
"""The command line of `bench`; the measuring modules are loaded when it runs."""

from pathlib import Path

import click
from click.core import ParameterSource

from s3crypt.errors import ConfigError

from ..help import DocumentedCommand
from ..options import Settings, common_options, option

_SECONDS = 45.0
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(cls=DocumentedCommand)
@common_options
@option(
    "--seconds",
    environment=False,
    type=click.FloatRange(0, 3600, min_open=True),
    metavar="SECONDS",
    default=_SECONDS,
    show_default=True,
    help="About how long to measure.",
)
@option("--s3", "uri", metavar="S3_URI", environment=False, help="Measure transfers below it too.")
@option("--kms-key", metavar="KEY", help="The KMS key of --s3: alias/NAME or an ARN.")
@option("--html", type=_FILE, environment=False, help="Write a page with plots to this file.")
@option(
    "--compare",
    "old",
    type=_FILE,
    metavar="OLD.json",
    environment=False,
    help="Mark what changed since an earlier --json.",
)
def bench(
    settings: Settings,
    *,
    seconds: float,
    uri: str | None,
    kms_key: str | None,
    html: Path | None,
    old: Path | None,
) -> None:
    """Measure this machine, and s3crypt on it.

    The bare ciphers, frames by length and threads, small messages, files and their memory.
    Nothing of this touches a network.

    With --s3, objects of 1 KiB to 64 MiB are put and got in every mode as well, under a fresh
    name below S3_URI. They are removed at the end; S3 and KMS charge for the requests.

    \b
    s3crypt bench
    s3crypt bench --seconds 5 --json > today.json
    s3crypt bench --s3 s3://acme/bench --kms-key alias/reports
    """
    if uri is None:
        _refuse_without_s3()
    from . import runner  # noqa: PLC0415 - it loads boto3 and cryptography

    runner.run(settings, seconds=seconds, uri=uri, kms_key=kms_key, html=html, old=old)


def _refuse_without_s3() -> None:
    context = click.get_current_context()
    for name in ("kms_key", "endpoint_url", "profile", "region", "sandbox"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise ConfigError(
                f"--{name.replace('_', '-')} needs --s3.",
                hint="Name where to measure transfers: --s3 s3://BUCKET/PREFIX.",
            )
