# SPDX-License-Identifier: Apache-2.0
"""The options of `s3crypt audit`, checked before any request is made."""

import functools
import re
from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import click

from s3crypt import configuration
from s3crypt.errors import ConfigError

from .jobs import jobs_option, journal_option
from .options import Command, Settings, option
from .own_keys import check_not_overwritten
from .places import split_uri
from .scopes import reader_of

if TYPE_CHECKING:
    from s3crypt.audit.values import Demands

FORMATS = ("terminal", "jsonl", "sarif", "asff", "ocsf", "html")
SEVERITIES = ("informational", "low", "medium", "high", "critical")
_ARN = re.compile(r"arn:[a-z-]+:s3:::([a-z0-9.-]+(/.*/)?)(?:/?\*)?")
_FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of the command, before they are interpreted."""

    targets: tuple[str, ...]
    account: bool
    objects: bool | None
    inventory: str | None
    sample: int | None
    jobs: int | None
    journal: str | None
    list: Path | None
    approve: tuple[str, ...]
    require_key: tuple[str, ...]
    require_signed: bool
    allow_unbound_names: bool
    material_days: int | None
    sse_c_key_file: tuple[Path, ...]
    control: tuple[str, ...]
    fail_on: str
    format: str | None
    output: Path | None
    baseline: Path | None
    evidence: Path | None
    responsibility: bool

    @property
    def buckets(self) -> tuple[str, ...]:
        """The names of the buckets in the targets, each once."""
        return tuple(dict.fromkeys(split_uri(uri)[0] for uri in self.uris))

    @property
    def uris(self) -> tuple[str, ...]:
        """The targets as URIs, each once. The URI of a bucket ends in a slash."""
        return tuple(dict.fromkeys(map(target_uri, self.targets)))

    @property
    def with_objects(self) -> bool:
        """Whether objects are judged. By default, they are if a bucket or a prefix is named."""
        return bool(self.targets) if self.objects is None else self.objects

    def wants(self, control: str) -> bool:
        """Return whether findings of a control are reported."""
        return not self.control or control in self.control

    def told(self) -> dict[str, str]:
        """Return the arguments that must be the same when the audit is resumed from its journal."""
        names = ("account", "buckets", "uris", "with_objects", "inventory", "sample", "approve",
                 "require_key", "require_signed", "allow_unbound_names", "material_days",
                 "sse_c_key_file")  # fmt: skip
        return {name: str(getattr(self, name)) for name in names}

    def format_for(self, settings: Settings) -> str:
        """Return the report's format: JSON Lines if --json was given, else the --format."""
        if settings.json and self.format not in (None, "jsonl"):
            raise ConfigError(
                f"--json and --format {self.format} exclude each other.", hint="Give one of them."
            )
        return "jsonl" if settings.json else self.format or "terminal"

    def check(self, controls: Collection[str]) -> None:
        """Check the arguments before any request is made.

        Raises:
            ConfigError: An argument is missing or invalid, or two arguments exclude each other.
        """
        if not self.uris and not self.account:
            raise ConfigError(
                "No bucket is named to audit.", hint="Name buckets, or give --account."
            )
        if unknown := [name for name in self.control if name not in controls]:
            raise ConfigError(
                f"There is no control {', '.join(unknown)}.",
                hint=f"The controls are: {', '.join(controls)}.",
            )
        given = [name for name in _OF_OBJECTS if getattr(self, name)]
        if given and not self.with_objects:
            raise ConfigError(
                f"--{given[0].replace('_', '-')} applies to objects, but no objects are audited.",
                hint=(
                    "Name a bucket, or give --objects."
                    if self.objects is None
                    else "Omit --no-objects."
                ),
            )
        written = filter(None, (self.output, self.list, self.evidence))
        check_not_overwritten(written, map(str, self.sse_c_key_file))
        self._check_runs()

    def _check_runs(self) -> None:
        for text in self.approve:
            if text not in configuration.MODES and not text.startswith("kms:"):
                known = ", ".join(configuration.MODES)
                raise ConfigError(
                    f"--approve takes a mode or kms:KEY, not {text!r}.", hint=f"Modes: {known}."
                )
        for text in self.require_key:
            if not text.startswith(("kms:", "aes:", "rsa:")):
                raise ConfigError(
                    f"--require-key takes a key, not {text!r}.",
                    hint="Write kms:KEY, aes:NAMESPACE/NAME or rsa:NAMESPACE/NAME.",
                )
        if self.inventory and len(self.uris) != 1:
            raise ConfigError(
                "--inventory lists the objects of one bucket.",
                hint="Name the bucket of the inventory.",
            )
        if self.responsibility and (self.output or self.format):
            raise ConfigError(
                "--responsibility prints a table, and excludes --format and --output.",
                hint="Give --json for programs.",
            )
        if self.evidence and self.journal:
            raise ConfigError(
                "--evidence and --journal exclude each other: a journal does not keep the replies "
                "that evidence needs.",
                hint="Omit --journal.",
            )

    def demands(self, settings: Settings) -> "Demands":
        """Return the requirements for objects. Aliases of keys are resolved by requests to KMS."""
        from s3crypt import SSEC  # noqa: PLC0415 - cryptography
        from s3crypt.audit.values import Demands  # noqa: PLC0415 - boto3

        modes = {text for text in self.approve if text in configuration.MODES}
        keys = [text for text in self.approve if text not in modes]
        reader = reader_of(settings) if keys else None
        arns = [reader.key_arn(text.removeprefix("kms:")) for text in keys] if reader else []
        return Demands(
            modes=frozenset(modes),
            keys=frozenset(arns),
            required_keys=self.require_key,
            signed=self.require_signed,
            bound_names=not self.allow_unbound_names,
            material_days=self.material_days,
            key_files=tuple(SSEC.from_file(file).key for file in self.sse_c_key_file),
        )


# The options that apply only if objects are examined.
_OF_OBJECTS = (
    "inventory", "sample", "list", "jobs", "approve", "require_key", "require_signed",
    "allow_unbound_names", "material_days", "sse_c_key_file",
)  # fmt: skip

_OPTIONS = (
    option(
        "--account",
        is_flag=True,
        environment=False,
        help="All buckets, keys, trails and IAM policies of the account.",
    ),
    option(
        "--objects/--no-objects",
        default=None,
        environment=False,
        help="Audit objects or not.  [default: the objects of named buckets]",
    ),
    option(
        "--inventory",
        environment=False,
        metavar="S3_URI",
        help="Read the list of objects from the manifest.json of an S3 Inventory.",
    ),
    option(
        "--sample",
        type=click.IntRange(min=1),
        environment=False,
        metavar="N",
        help="Audit N random objects of each bucket or prefix.",
    ),
    option(
        "--approve",
        multiple=True,
        environment=False,
        metavar="MODE|kms:KEY",
        help="Objects may be in this mode, or under this KMS key; repeatable.  [default: any]",
    ),
    option(
        "--require-key",
        multiple=True,
        environment=False,
        metavar="KEY",
        help="Client-side objects must also open with this key, such as an escrow key; repeatable.",
    ),
    option(
        "--require-signed",
        is_flag=True,
        environment=False,
        help="Client-side objects must be signed.",
    ),
    option(
        "--allow-unbound-names",
        is_flag=True,
        environment=False,
        help="Client-side objects need not be bound to their names.",
    ),
    option(
        "--material-days",
        type=click.IntRange(min=1),
        environment=False,
        metavar="DAYS",
        help="Data keys must not be wrapped under older key material.",
    ),
    option(
        "--sse-c-key-file",
        type=click.Path(path_type=Path),
        multiple=True,
        environment=False,
        metavar="FILE",
        help="SSE-C objects must open with one of these keys; repeatable.",
    ),
    option(
        "--list",
        type=_FILE,
        environment=False,
        metavar="FILE",
        help="Write every object that fails or stays unknown to FILE, as JSON Lines.",
    ),
    option(
        "--control",
        multiple=True,
        environment=False,
        metavar="ID",
        help="Report only this control; repeatable.",
    ),
    option(
        "--fail-on",
        type=click.Choice(SEVERITIES),
        default="high",
        show_default=True,
        help="Exit with 3 if a finding of this severity or above is open.",
    ),
    option(
        "--format",
        type=click.Choice(FORMATS),
        help="The format of the report.  [default: terminal]",
    ),
    option("--output", "-o", type=_FILE, environment=False, help="Write the report to this file."),
    option(
        "--baseline",
        type=_FILE,
        metavar="FILE",
        help="Accept the findings that a TOML file names.",
    ),
    option(
        "--evidence",
        type=click.Path(path_type=Path),
        environment=False,
        metavar="FOLDER",
        help="Write the report, the AWS replies behind it, and their hashes to a new folder.",
    ),
    option(
        "--responsibility",
        is_flag=True,
        environment=False,
        help="Print the table of shared responsibility, filled in, instead of the findings.",
    ),
    jobs_option,
    journal_option,
)


def audit_options(command: Command) -> Command:
    """Add the targets and options of an audit to a command, which gets them as `asked`."""
    names = [field.name for field in fields(Asked)]

    @functools.wraps(command)
    def wrapper(**values: Any) -> Any:
        asked = Asked(**{name: values.pop(name) for name in names})
        return command(**values, asked=asked)

    given: Command = wrapper
    for add in reversed(_OPTIONS):
        given = add(given)
    return click.argument("targets", metavar="[BUCKET|s3://BUCKET/PREFIX]...", nargs=-1)(given)


def arguments_of(context: click.Context) -> tuple[str, ...]:
    """Return the arguments of a command, in the order of its parameters.

    Values from the environment are included. Defaults are omitted.
    """
    given: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        value = context.params.get(name)
        if source is None or source.name.startswith("DEFAULT") or name not in context.params:
            continue
        if isinstance(parameter, click.Argument):
            given += value if isinstance(value, tuple) else [str(value)]
        elif isinstance(parameter, click.Option):
            given += _option(parameter, value)
    return tuple(given)


def _option(parameter: click.Option, value: Any) -> list[str]:
    if parameter.is_flag:
        return [parameter.opts[0] if value else (parameter.secondary_opts or parameter.opts)[0]]
    long = next((name for name in parameter.opts if name.startswith("--")), parameter.opts[0])
    values = value if parameter.multiple else (value,)
    return [part for each in values for part in (long, without_password(str(each)))]


def without_password(text: str) -> str:
    """Return a URL without the user and the password in it, for reports and journals."""
    parts = urlsplit(text) if "://" in text else None
    if parts is None or parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return text
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def target_uri(target: str) -> str:
    """Return a target as a URI. The URI of a bucket without a prefix ends in a slash.

    Raises:
        ConfigError: The target names neither a bucket nor a prefix.
    """
    # ARNs are accepted because reports name buckets and prefixes by their ARNs.
    if found := _ARN.fullmatch(target):
        target = f"s3://{found[1]}"
    uri = target if target.startswith("s3://") else f"s3://{target}"
    name, slash, rest = uri.removeprefix("s3://").partition("/")
    if not target.startswith("s3://") and slash:
        raise ConfigError(
            f"{target} is not a bucket.", hint=f"Write s3://{name}/{rest.rstrip('/')}/"
        )
    if rest and not rest.endswith("/"):
        raise ConfigError(f"{uri} names an object.", hint=f"A prefix ends with a slash: {uri}/")
    return uri if slash else f"{uri}/"
