# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and the library's values made from them.

The command line and the environment never contain secrets, only the names of key files.
"""

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from s3crypt import configuration
from s3crypt.errors import ConfigError

from .help import COMMON, ENCRYPTION, SOURCE_ENCRYPTION, GroupedOption
from .output import say

if TYPE_CHECKING:
    import boto3

    from s3crypt import Mode
    from s3crypt.message import Keyring

Command = Callable[..., Any]
# The mode of objects for which S3 reports no encryption.
UNENCRYPTED = "none"
_IGNORE_ENDPOINTS = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"


@dataclass(frozen=True)  # without slots: `session` is made once and kept
class Settings:
    """The options of every command: the service to use, and the output."""

    json: bool = False
    quiet: bool = False
    endpoint_url: str | None = None
    profile: str | None = None
    region: str | None = None
    sandbox: bool = False
    allow_plain_http: bool = False
    expected_bucket_owner: str | None = None
    request_payer: Literal["requester"] | None = None
    no_sign_request: bool = False
    strict_key_files: bool = False

    @functools.cached_property
    def session(self) -> "boto3.Session":
        """The boto3 session with --profile and --region, and with boto3's defaults otherwise."""
        return configuration.session_of(self.profile, self.region)

    @property
    def silent(self) -> bool:
        """Whether progress and remarks on stderr are unwanted."""
        return self.quiet or self.json

    def left_out(self, path: str | Path, why: str) -> None:
        """Say on stderr that a path is skipped, and why, unless --quiet was given."""
        if not self.quiet:
            say(f"s3crypt: {path}: skipped, {why}")


def option(
    *names: str, environment: bool = True, group: str | None = None, **attributes: Any
) -> Callable[[Command], Command]:
    """Return click's option, also read from the environment, such as S3CRYPT_FRAME_LENGTH.

    `environment=False` is for options that must be given each time: options that choose objects,
    and options that reduce safety. `group` is the option's heading on the help page.
    """
    if environment:
        long = next(name for name in names if name.startswith("--"))
        attributes["envvar"] = _variable(long)
    return click.option(*names, cls=GroupedOption, group=group, **attributes)


def _variable(long: str) -> str:
    """Return the environment variable of an option."""
    return "S3CRYPT_" + long[2:].replace("-", "_").upper()


def quoted_variables(text: str) -> list[str]:
    """Return the names of the S3CRYPT_... variables whose value occurs in an error's text.

    A value NAME=FILE also counts if the text has only FILE.
    """
    return [
        name
        for name, value in sorted(os.environ.items())
        if name.startswith("S3CRYPT_") and any(_is_quoted(word, text) for word in value.split())
    ]


def _is_quoted(value: str, text: str) -> bool:
    parts = (value, value.partition("=")[2])
    return any(
        len(part) > 1 and re.search(rf"(?<![\w./-]){re.escape(part)}(?![\w/-])", text)
        for part in parts
    )


def common_options(
    command: Command | None = None, *, service: Literal["aws", "iam", "kms", "s3"] = "s3"
) -> Command:
    """Give a command --json, --quiet and the AWS options as its first argument, a `Settings`.

    `service` is the service whose endpoint --endpoint-url sets; `aws` stands for every service.
    Write `@common_options` or `@common_options(service=...)`.
    """
    if command is None:
        return functools.partial(common_options, service=service)
    run = command

    @functools.wraps(run)
    def wrapper(**values: Any) -> Any:
        names = {field.name for field in dataclasses.fields(Settings)} & values.keys()
        settings = Settings(**{name: values.pop(name) for name in names})
        return run(_applied(settings, service), **values)

    return with_options(wrapper, (*_COMMON, *_BUCKETS) if service == "s3" else _COMMON)


def settings_of(context: click.Context) -> Settings:
    """Return the settings of a command line that is still being typed, for its completion."""
    names = {field.name for field in dataclasses.fields(Settings)} & context.params.keys()
    given = {name: context.params[name] for name in names if context.params[name]}
    return _applied(Settings(**given), "s3")


def logging_options(command: Command) -> Command:
    """Give a command or the top group -v and --debug, which may stand anywhere on the line."""
    return with_options(command, _LOGGING)


def _log_to_stderr(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if not value or context.resilient_parsing:
        return
    from .logs import printing  # noqa: PLC0415 - 10 ms that --help must not cost

    # The records are printed until the root context ends, also if a subcommand has the option.
    context.find_root().with_resource(printing("DEBUG" if parameter.name == "debug" else "INFO"))


_common_option = functools.partial(option, group=COMMON)
_LOGGING = (
    _common_option(
        "--verbose",
        "-v",
        is_flag=True,
        expose_value=False,
        callback=_log_to_stderr,
        help="Log decisions on stderr, also with --quiet.",
    ),
    _common_option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_log_to_stderr,
        help="Also log every retry.",
    ),
)
_COMMON = (
    _common_option("--json", is_flag=True, help="Print one JSON object per line, for programs."),
    _common_option(
        "--quiet", "-q", is_flag=True, help="Print only errors: no progress, no remarks."
    ),
    *_LOGGING,
    _common_option(
        "--endpoint-url", metavar="URL", help="The address of the service, if it is not AWS."
    ),
    _common_option("--profile", help="AWS profile."),
    _common_option("--region", help="AWS region."),
    _common_option("--sandbox", is_flag=True, help="Use the running `s3crypt sandbox`."),
    _common_option(
        "--strict-key-files",
        is_flag=True,
        help="Refuse secret keys in files that other users can read, instead of warning.",
    ),
    _common_option(
        "--allow-plain-http",
        is_flag=True,
        environment=False,
        help="Also send customer keys and KMS's data keys to http:// endpoints of other machines.",
    ),
)
_BUCKETS = (
    _common_option(
        "--expected-bucket-owner",
        metavar="ACCOUNT",
        help="Fail if a bucket does not belong to this AWS account.",
    ),
    _common_option(
        "--request-payer",
        type=click.Choice(["requester"]),
        help="Pay for requests to requester-pays buckets.",
    ),
    _common_option(
        "--no-sign-request",
        is_flag=True,
        help="Send S3 unsigned requests, without credentials, for public buckets.",
    ),
)
_MODE = option(
    "--mode",
    group=ENCRYPTION,
    type=click.Choice(tuple(configuration.MODES)),
    help="The encryption mode; `client` if a key is given.",
)


@dataclass(frozen=True, slots=True)
class ModeOptions:
    """The values of --mode, --key and related options; `mode_for` returns the library's mode.

    Attributes:
        mode: The value of --mode.
        values: The given values of `configuration.OPTIONS` by name; pairs are not yet parsed.
        from_environment: The names of the values that the environment set; they may include `mode`.
        prefix: The prefix of these options on the command line, such as `from-`, or ''.
    """

    mode: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    from_environment: frozenset[str] = frozenset()
    prefix: str = ""

    def mode_for(self, settings: Settings) -> "Mode | None":
        """Return the requested mode, or None if no option was given.

        An option on the command line that does not apply is an error, never ignored. An option
        from the environment is a default, used where it applies.
        """
        asked = self.values.keys() - self.from_environment
        mode = self.mode or self._implied(asked) or self._implied(self.values)
        taken = asked | configuration.MODES[mode] if mode else asked
        return configuration.mode_of(
            mode,
            **{name: self._value(name) for name in self.values if name in taken},
            session=lambda: settings.session,
            spell=self._spell,
            allow_plain_http=settings.allow_plain_http,
        )

    def told(self) -> dict[str, str]:
        """Return the given values as text, with marks of the key files, to identify a job.

        A mark is 64 bits of a hash of the key file: it distinguishes keys without revealing them.
        """
        given: dict[str, object] = {"mode": self.mode, **self.values}
        marks = [_mark(file) for file in self.key_files]
        told = {f"{self.prefix}{name}": str(value) for name, value in given.items()}
        return {**told, f"{self.prefix}marks": " ".join(marks)}

    @property
    def key_files(self) -> tuple[str, ...]:
        """Return the files of the given keys."""
        files = [str(self.values.get("sse_c_key_file") or "")]
        files += [str(text).partition("=")[2] for text in self.values.get("key", ())]
        return tuple(os.path.expanduser(file) for file in files if file)  # noqa: PTH111 - as the key's reader

    def check_none(self, reason: str) -> None:
        """Refuse these options on the command line, which do not apply because of `reason`."""
        for name in sorted(self.values.keys() - self.from_environment):
            raise ConfigError(f"{self._spell(name)} does not apply to {reason}.")

    def required_mode_for(self, settings: Settings) -> "Mode":
        """Return the requested mode; s3crypt never guesses how to write."""
        mode = self.mode_for(settings)
        if mode is None:
            raise ConfigError(
                "No encryption mode was given.",
                hint="Give --key kms:alias/NAME (client-side), or --mode "
                "sse-s3|sse-kms|dsse-kms|sse-c.",
            )
        return mode

    def keyring_for(self, settings: Settings) -> "Keyring":
        """Return the keyring of --key, given once or more."""
        return configuration.keyring_of(
            self.values.get("key", ()),
            session=lambda: settings.session,
            spell=self._spell,
            allow_plain_http=settings.allow_plain_http,
        )

    def arguments(self) -> dict[str, Any]:
        """Return the given values except the key, as arguments of the functions for messages."""
        return {name: self._value(name) for name in self.values if name != "key"}

    def _value(self, name: str) -> Any:
        value = self.values[name]
        if configuration.OPTIONS[name].kind == "pairs":
            return parse_pairs(value, self._spell(name))
        return value

    def _implied(self, names: Collection[str]) -> str | None:
        return configuration.implied_mode(names, spell=self._spell)

    def _spell(self, name: str, value: str | bool | None = None) -> str:
        """Return an option's name for errors: its variable, if the environment set the option."""
        option = _as_option(name, value, prefix=self.prefix)
        if name not in self.from_environment:
            return option
        variable = _variable(_as_option(name, prefix=self.prefix))
        return f"{variable}={value}" if isinstance(value, str) else variable


def _mark(file: str) -> str:
    try:
        content = Path(file).read_bytes()
    except OSError:
        # The code that reads the key from this file reports the error.
        return ""
    return hashlib.sha256(b"s3crypt journal\0" + content).hexdigest()[:16]


def reading_options(command: Command) -> Command:
    """Give a command that reads objects its `options: ModeOptions`."""
    return _mode_options(command, "read", mode=_MODE)


def describing_options(command: Command) -> Command:
    """Give a command that describes objects without opening them its `options: ModeOptions`."""
    return _mode_options(command, "describe", mode=_MODE)


def writing_options(command: Command) -> Command:
    """Give a command that writes objects its `options: ModeOptions`."""
    return _mode_options(command, "write", mode=_MODE)


def origin_options(command: Command) -> Command:
    """Give a command the --from-... options, for the objects' current mode, as `origin`."""
    mode = option(
        "--from-mode",
        group=SOURCE_ENCRYPTION,
        type=click.Choice((*configuration.MODES, UNENCRYPTED)),
        environment=False,
        help="The mode of the present object; none: S3 reports no encryption.",
    )
    return _mode_options(command, "rotate-from", mode=mode, prefix="from-", parameter="origin")


def message_writing_options(command: Command) -> Command:
    """Give a command that writes bare messages its `options: ModeOptions`."""
    return _mode_options(command, "seal")


def message_reading_options(command: Command) -> Command:
    """Give a command that reads bare messages its `options: ModeOptions`."""
    return _mode_options(command, "open")


def parse_pairs(pairs: Iterable[str], name: str) -> dict[str, str]:
    """Return NAME=VALUE options as a dict; a name given twice is an error."""
    values: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"{name} takes NAME=VALUE, not {pair!r}.")
        if key in values:
            raise ConfigError(f"{name} {key}= is given twice.")
        values[key] = value
    return values


# Powers of two under every name, as in aws-cli: 1KB is 1KiB.
_UNITS: Mapping[str, int] = {"": 1, "b": 1} | {
    f"{letter}{end}": 2**power
    for letter, power in (("k", 10), ("m", 20), ("g", 30), ("t", 40))
    for end in ("", "b", "ib")
}


def parse_size(text: str | None) -> int | None:
    """Return the number of bytes in a text such as 64KiB, 64KB, 1M or 65536."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,15}) ?([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise ConfigError(f"{text!r} is not a size.", hint="Write 64KiB, 1MiB or 65536.")
    return int(match[1]) * _UNITS[match[2]]


_AGES = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_age(text: str | None) -> timedelta | None:
    """Return the time span in a text such as 30m, 12h, 7d or 2w."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5}) ?([mhdw])", text.strip().lower())
    if match is None:
        raise ConfigError(f"{text!r} is not an age.", hint="Write 30m, 12h, 7d or 2w.")
    return timedelta(**{_AGES[match[2]]: int(match[1])})


def _as_option(name: str, value: str | bool | None = None, *, prefix: str = "") -> str:
    """Return an option of a mode as the command line spells it, with its value if it has one."""
    option = f"--{prefix}{'no-' if _is_negated(name) else ''}{name.replace('_', '-')}"
    # A flag has no value besides its name.
    return f"{option} {value}" if isinstance(value, str) else option


def _is_negated(name: str) -> bool:
    """Return whether the command line can only turn an option off, as with --no-bind-name."""
    return name in configuration.OPTIONS and configuration.DEFAULTS[name] is True


def with_options(command: Command, options: Iterable[Callable[[Command], Command]]) -> Command:
    """Give a command several options, in this order."""
    for add in reversed(tuple(options)):
        command = add(command)
    return command


def _mode_options(
    command: Command,
    use: configuration.Use,
    *,
    mode: Callable[[Command], Command] | None = None,
    prefix: str = "",
    parameter: str = "options",
) -> Command:
    """Give a command the mode options that exist for `use`, as the argument `parameter`."""
    offered = {
        name: prefix.replace("-", "_") + name
        for name, each in configuration.OPTIONS.items()
        if use in each.help
    }

    @functools.wraps(command)
    def wrapper(*arguments: Any, **values: Any) -> Any:
        taken = {name: values.pop(argument) for name, argument in offered.items()}
        given = {name: value for name, value in taken.items() if _is_given(value)}
        environment = [name for name in given if is_from_environment(offered[name])]
        of_mode = f"{prefix.replace('-', '_')}mode"
        if values.get(of_mode) and is_from_environment(of_mode):
            environment.append("mode")
        chosen = ModeOptions(
            mode=values.pop(of_mode, None),
            values={name: _in_python(name, value) for name, value in given.items()},
            from_environment=frozenset(environment),
            prefix=prefix,
        )
        return command(*arguments, **{parameter: chosen}, **values)

    rendered = [_rendered(name, argument, use, prefix) for name, argument in offered.items()]
    return with_options(wrapper, [mode, *rendered] if mode else rendered)


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and value != ()


def _in_python(name: str, value: Any) -> Any:
    return False if _is_negated(name) else value


def _rendered(
    name: str, argument: str, use: configuration.Use, prefix: str
) -> Callable[[Command], Command]:
    """Return an option of a mode as click's option."""
    described = configuration.OPTIONS[name]
    kinds: dict[str, dict[str, Any]] = {
        "keys": {"multiple": True, "metavar": "KEY"},
        "pairs": {"multiple": True, "metavar": "NAME=VALUE"},
        "file": {"type": click.Path(path_type=Path)},
        "flag": {"is_flag": True},
        "size": {"metavar": "SIZE", "callback": lambda _context, _parameter, v: parse_size(v)},
        "seconds": {"type": float, "metavar": "SECONDS"},
        "choice": {"type": click.Choice(described.choices)},
    }
    return option(
        _as_option(name, prefix=prefix),
        argument,
        environment=described.in_environment,
        group=SOURCE_ENCRYPTION if prefix else ENCRYPTION,
        help=described.help[use],
        **kinds[described.kind],
    )


def is_from_environment(name: str) -> bool:
    """Return whether an option of the running command was read from the environment."""
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.ENVIRONMENT


def _applied(settings: Settings, service: str) -> Settings:
    if settings.strict_key_files:
        # An environment variable also reaches key files that the library reads for a keyring that
        # is parsed from text.
        os.environ["S3CRYPT_STRICT_KEY_FILES"] = "1"
    if settings.sandbox:
        for name in ("endpoint_url", "profile"):
            if getattr(settings, name) and not is_from_environment(name):
                raise ConfigError(
                    f"--sandbox and --{name.replace('_', '-')} exclude each other.",
                    hint="Give one of them.",
                )
        enter_sandbox()
        # Endpoint and profile may come from the environment and must not lead out of the sandbox.
        return dataclasses.replace(settings, endpoint_url=None, profile=None)
    if settings.endpoint_url:
        _use_endpoint(settings.endpoint_url, service)
    return settings


def _use_endpoint(url: str, service: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"--endpoint-url takes http://HOST:PORT or https://HOST, not {url!r}.")
    if os.environ.get(_IGNORE_ENDPOINTS, "").lower() == "true":
        # With this variable, the environment's endpoints are ignored. Remove them, because the
        # variable must be "false" for the endpoint of --endpoint-url.
        for name in [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")]:
            del os.environ[name]
    os.environ[_IGNORE_ENDPOINTS] = "false"
    if service == "aws":
        # AWS_ENDPOINT_URL_S3 and the like would take precedence over AWS_ENDPOINT_URL.
        for name in [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL_")]:
            del os.environ[name]
        os.environ["AWS_ENDPOINT_URL"] = url
    else:
        os.environ[f"AWS_ENDPOINT_URL_{service.upper()}"] = url


def enter_sandbox() -> None:
    """Send this process's requests to the running sandbox.

    Raises:
        ConfigError: No sandbox is running.
    """
    from s3crypt import sandbox  # noqa: PLC0415 - needs the sandbox extra

    running = sandbox.status()
    if running is None:
        raise ConfigError("No sandbox is running.", hint="Start one: s3crypt sandbox start")
    os.environ.update(sandbox.environment(running))
