# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and the library's values made of them.

Secrets never come from the command line or the environment: only the names of files do.
"""

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from s3crypt import configuration
from s3crypt.errors import ConfigError

if TYPE_CHECKING:
    import boto3

    from s3crypt import Mode
    from s3crypt.message import Keyring

Command = Callable[..., Any]
_IGNORE_ENDPOINTS = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"


@dataclass(frozen=True)  # without slots: `session` is made once and kept
class Settings:
    """What every command accepts: where to talk to, and how to report."""

    json: bool = False
    quiet: bool = False
    endpoint_url: str | None = None
    profile: str | None = None
    region: str | None = None
    sandbox: bool = False
    allow_plain_http: bool = False
    expected_bucket_owner: str | None = None
    request_payer: Literal["requester"] | None = None

    @functools.cached_property
    def session(self) -> "boto3.Session":
        """The boto3 session of --profile and --region; otherwise all is boto3's own."""
        return _session(self.profile, self.region)

    @property
    def silent(self) -> bool:
        """Whether progress and remarks on stderr are unwanted."""
        return self.quiet or self.json


def option(
    *names: str, environment: bool = True, **attributes: Any
) -> Callable[[Command], Command]:
    """Return click's option, read from the environment too: --frame-length: S3CRYPT_FRAME_LENGTH.

    `environment=False` is for what must be asked for each time: which objects, and less safety.
    """
    if environment:
        long = next(name for name in names if name.startswith("--"))
        attributes["envvar"] = "S3CRYPT_" + long[2:].replace("-", "_").upper()
    return click.option(*names, **attributes)


def common_options(
    command: Command | None = None, *, service: Literal["s3", "kms"] = "s3"
) -> Command:
    """Give a command --json, --quiet and the AWS options as its first argument, a `Settings`.

    `service` is what --endpoint-url means. Use as `@common_options` or with the service.
    """
    if command is None:
        return functools.partial(common_options, service=service)
    run = command

    @functools.wraps(run)
    def wrapper(**values: Any) -> Any:
        names = {field.name for field in dataclasses.fields(Settings)} & values.keys()
        settings = Settings(**{name: values.pop(name) for name in names})
        return run(_applied(settings, service), **values)

    return _with_options(wrapper, (*_COMMON, *_BUCKETS) if service == "s3" else _COMMON)


_COMMON = (
    option("--json", is_flag=True, help="One JSON object a line, for programs."),
    option("--quiet", "-q", is_flag=True, help="No progress, no remarks: only errors."),
    option("--endpoint-url", metavar="URL", help="The service's address, if not AWS's."),
    option("--profile", help="AWS profile."),
    option("--region", help="AWS region."),
    option("--sandbox", is_flag=True, help="Use the running `s3crypt sandbox`."),
    option(
        "--allow-plain-http",
        is_flag=True,
        environment=False,
        help="Send customer keys and KMS's data keys to http:// endpoints of other machines too.",
    ),
)
_BUCKETS = (
    option(
        "--expected-bucket-owner",
        metavar="ACCOUNT",
        help="Fail where a bucket is of another AWS account than this one.",
    ),
    option(
        "--request-payer",
        type=click.Choice(["requester"]),
        help="Pay for requests to buckets whose reader pays.",
    ),
)
_KEYS = (
    option(
        "--key",
        "key",
        multiple=True,
        metavar="KEY",
        help="kms:alias/NAME, kms:ARN, aes:NAMESPACE/NAME=FILE or rsa:NAMESPACE/NAME=FILE.pem. "
        "Given more than once, the first makes the data key and any one opens it.",
    ),
    option("--context", multiple=True, metavar="NAME=VALUE", help="Encryption context."),
)
_MODE = (
    option(
        "--mode",
        type=click.Choice(tuple(configuration.MODES)),
        help="Who encrypts; `client` if a key is given.",
    ),
    *_KEYS,
    option(
        "--sse-c-key-file",
        type=click.Path(path_type=Path),
        help="The customer key of SSE-C: 32 raw bytes, hex or base64.",
    ),
)
# On reading it lets an object pass under any name: what loosens reading is asked for each time.
_NO_BIND_NAME = option(
    "--no-bind-name",
    is_flag=True,
    environment=False,
    help="Do not bind the object's name into the message.",
)
_BIND_BUCKET = option(
    "--bind-bucket",
    is_flag=True,
    help="Bind the bucket's name into the message too; on reading, demand it.",
)
_SIGNED_READING = option("--signed", is_flag=True, help="Demand a signature.")
_WRITING = (
    option("--signed", is_flag=True, help="Sign the message (ECDSA P-384) too."),
    option(
        "--frame-length",
        callback=lambda _context, _parameter, value: parse_size(value),
        metavar="SIZE",
        help="Plaintext per frame: 64KiB, 1MiB or bytes.  [default: 256KiB]",
    ),
)
_KEY_LOCATION = option(
    "--key-location",
    type=click.Choice(("header", "metadata")),
    help="Where the wrapped key is kept: in the message, or in the object's metadata.",
)


@dataclass(frozen=True, slots=True)
class ModeOptions:
    """--mode, --key and their companions, as given; `mode_for` makes the library's mode of them."""

    mode: str | None = None
    key: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    sse_c_key_file: Path | None = None
    no_bind_name: bool = False
    bind_bucket: bool = False
    signed: bool = False
    frame_length: int | None = None
    key_location: Literal["header", "metadata"] | None = None
    from_environment: frozenset[str] = frozenset()

    def mode_for(self, settings: Settings, *, prefix: str = "") -> "Mode | None":
        """Return the mode asked for, or None if nothing was; nothing given is ignored.

        What comes from the environment is a default instead, used where it applies. `prefix` is
        what the command's names of these options begin with: `from-`.
        """
        spell = functools.partial(_as_option, prefix=prefix)
        given = self._given()
        asked = given - self.from_environment
        mode = self.mode or self._implied(asked, spell) or self._implied(given, spell)
        taken = configuration.MODES[mode] if mode else frozenset()
        options = {name: getattr(self, name) for name in asked | (given & taken)}
        if "context" in options:
            options["context"] = parse_pairs(self.context, "--context")
        return configuration.mode_of(
            mode,
            **options,
            bind_name=not self.no_bind_name,
            session=lambda: settings.session,
            spell=spell,
            allow_plain_http=settings.allow_plain_http,
        )

    def check_none(self, reason: str, *, prefix: str) -> None:
        """Refuse options on the command line, where what is there has no mode."""
        for name in sorted(self._given() - self.from_environment):
            raise ConfigError(f"{reason} takes no {_as_option(name, prefix=prefix)}.")

    def required_mode_for(self, settings: Settings) -> "Mode":
        """Return the mode asked for; s3crypt never guesses how to write."""
        mode = self.mode_for(settings)
        if mode is None:
            raise ConfigError(
                "No encryption was chosen.",
                hint="Give --key kms:alias/NAME (client-side), or --mode "
                "sse-s3|sse-kms|dsse-kms|sse-c.",
            )
        return mode

    def keyring_for(self, settings: Settings) -> "Keyring":
        """Return the keyring of --key, given once or more."""
        return configuration.keyring_of(
            self.key,
            session=lambda: settings.session,
            spell=_as_option,
            allow_plain_http=settings.allow_plain_http,
        )

    def _given(self) -> frozenset[str]:
        fields = {field.name: field.default for field in dataclasses.fields(self)}
        taken = fields.keys() & frozenset().union(*configuration.MODES.values())
        return frozenset(name for name in taken if getattr(self, name) != fields[name])

    def _implied(self, options: frozenset[str], spell: configuration.Spell) -> str | None:
        return configuration.implied_mode(options, spell=spell)


def reading_options(command: Command) -> Command:
    """Give a command that reads objects its `options: ModeOptions`."""
    return _mode_options(command, (*_MODE, _SIGNED_READING, _NO_BIND_NAME, _BIND_BUCKET))


def describing_options(command: Command) -> Command:
    """Give a command that describes objects, and opens none, its `options: ModeOptions`."""
    return _mode_options(command, (*_MODE, _NO_BIND_NAME))


def writing_options(command: Command) -> Command:
    """Give a command that writes objects its `options: ModeOptions`."""
    return _mode_options(command, (*_MODE, *_WRITING, _KEY_LOCATION, _NO_BIND_NAME, _BIND_BUCKET))


def message_writing_options(command: Command) -> Command:
    """Give a command that writes bare messages its `options: ModeOptions`."""
    return _mode_options(command, (*_KEYS, *_WRITING))


def message_reading_options(command: Command) -> Command:
    """Give a command that reads bare messages its `options: ModeOptions`."""
    return _mode_options(command, (*_KEYS, _SIGNED_READING))


def parse_pairs(pairs: Iterable[str], name: str) -> dict[str, str]:
    """Return NAME=VALUE options as a dict; a name given twice is an error."""
    values: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"{name} takes NAME=VALUE.")
        if key in values:
            raise ConfigError(f"{name} {key}= is given twice.")
        values[key] = value
    return values


_UNITS = {"": 1, "b": 1, "k": 2**10, "kib": 2**10, "m": 2**20, "mib": 2**20}


def parse_size(text: str | None) -> int | None:
    """Return the bytes of 64KiB, 1MiB or 65536."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,12}) ?([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise ConfigError(f"{text!r} is not a size.", hint="Write 64KiB, 1MiB or 65536.")
    return int(match[1]) * _UNITS[match[2]]


def _as_option(name: str, value: str | None = None, *, prefix: str = "") -> str:
    option = f"--{prefix}{name.replace('_', '-')}"
    if name == "bind_name":
        option = "--no-bind-name"
    return option if value is None else f"{option} {value}"


def _with_options(command: Command, options: Iterable[Callable[[Command], Command]]) -> Command:
    for add in reversed(tuple(options)):
        command = add(command)
    return command


def _mode_options(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    @functools.wraps(command)
    def wrapper(*arguments: Any, **values: Any) -> Any:
        names = [name for name in ModeOptions.__dataclass_fields__ if name in values]
        environment = frozenset(name for name in names if is_from_environment(name))
        chosen = {name: values.pop(name) for name in names}
        options = ModeOptions(**chosen, from_environment=environment)
        return command(*arguments, options=options, **values)

    return _with_options(wrapper, options)


def is_from_environment(name: str) -> bool:
    """Tell whether an option of the running command was read from the environment."""
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.ENVIRONMENT


def _applied(settings: Settings, service: str) -> Settings:
    if settings.sandbox:
        for name in ("endpoint_url", "profile"):
            if getattr(settings, name) and not is_from_environment(name):
                raise ConfigError(
                    f"--sandbox and --{name.replace('_', '-')} exclude each other.",
                    hint="Give one of them.",
                )
        enter_sandbox()
        # What the environment says of other places must not lead out of the sandbox.
        return dataclasses.replace(settings, endpoint_url=None, profile=None)
    if settings.endpoint_url:
        _use_endpoint(settings.endpoint_url, service)
    return settings


def _use_endpoint(url: str, service: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise ConfigError("--endpoint-url takes http://HOST:PORT or https://HOST.")
    if os.environ.get(_IGNORE_ENDPOINTS, "").lower() == "true":
        # The other service's endpoint stays ignored, as was asked for.
        for name in [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")]:
            del os.environ[name]
    os.environ[_IGNORE_ENDPOINTS] = "false"
    os.environ[f"AWS_ENDPOINT_URL_{service.upper()}"] = url


def enter_sandbox() -> None:
    """Lead this process to the running sandbox.

    Raises:
        ConfigError: None runs.
    """
    from s3crypt import sandbox  # noqa: PLC0415 - needs the sandbox extra

    running = sandbox.status()
    if running is None:
        raise ConfigError("No sandbox is running.", hint="Start one: s3crypt sandbox start")
    os.environ.update(sandbox.environment(running))


def _session(profile: str | None, region: str | None) -> "boto3.Session":
    import boto3  # noqa: PLC0415 - 100 ms that --help must not cost
    import botocore.session  # noqa: PLC0415

    wanted = profile or os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    if wanted and wanted not in botocore.session.Session().available_profiles:
        raise ConfigError(
            f"There is no AWS profile named {wanted}.", hint="See `aws configure list-profiles`."
        )
    return boto3.Session(profile_name=profile, region_name=region)
