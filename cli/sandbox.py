# SPDX-License-Identifier: Apache-2.0
"""`sandbox`: an S3 and KMS on this machine, for trying out."""

import dataclasses
import shlex
from typing import Any

import click

from s3crypt.errors import ConfigError

from .help import DocumentedGroup
from .output import print_json, print_line, print_script, say

_QUIET = click.option("--quiet", "-q", is_flag=True, help="Print only errors: no remarks.")
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")


@click.group(cls=DocumentedGroup)
def sandbox() -> None:
    """Run an S3 and a KMS on this machine, on loopback, for trials.

    It is not a safe place for data: all data is in memory, and `stop` deletes it.

    \b
    s3crypt sandbox start
    eval "$(s3crypt sandbox env)"
    """


@sandbox.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port (0: any free one).")
@_JSON
@_QUIET
def start(*, port: int, as_json: bool, quiet: bool) -> None:
    """Start the sandbox in the background, with a bucket and a key, in about a second.

    \b
    s3crypt sandbox start
    """
    service = _service()
    running = service.status()
    started = running is None
    if running is None:
        running = service.start(port=port)
    if as_json:
        print_json(_public(running))
        return
    if quiet:
        return
    verb = "is running" if started else "was already running"
    say(f"The sandbox {verb} at {running.endpoint_url} (process {running.pid}).")
    if started:
        bucket, alias = service.EXAMPLE_BUCKET, service.EXAMPLE_ALIAS
        say(f"It has a bucket, s3://{bucket}/, and a KMS key, {alias}.")
    say("Use it with --sandbox on any command, or for the whole shell:")
    say('  eval "$(s3crypt sandbox env)"')


@sandbox.command()
@_QUIET
def stop(*, quiet: bool) -> None:
    """Stop the sandbox and delete its data.

    \b
    s3crypt sandbox stop
    """
    is_stopped = _service().stop()
    if quiet:
        return
    if is_stopped:
        say("The sandbox was stopped. Its objects and keys are gone.")
    else:
        say("No sandbox was running.")


@sandbox.command()
@_JSON
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show whether the sandbox runs; the exit code is 1 if it does not.

    \b
    s3crypt sandbox status --json
    """
    running = _service().status()
    if as_json:
        print_json({"running": running is not None} | (_public(running) if running else {}))
    elif running is None:
        print_line("not running")
    else:
        print_line(f"running at {running.endpoint_url} (process {running.pid})")
    context.exit(0 if running else 1)


@sandbox.command()
@_JSON
def env(as_json: bool) -> None:
    """Print shell commands that make any AWS tool use the sandbox.

    \b
    eval "$(s3crypt sandbox env)"
    """
    service = _service()
    running = service.status()
    if running is None:
        raise ConfigError("No sandbox is running.", hint="Start one: s3crypt sandbox start")
    environment = service.environment(running)
    if as_json:
        print_json(environment)
        return
    for name, value in environment.items():
        print_script(f"export {name}={shlex.quote(value)}")


def _service() -> Any:
    from s3crypt import sandbox as service  # noqa: PLC0415 - only needed here

    return service


def _public(running: Any) -> dict[str, object]:
    fields = {field.name for field in dataclasses.fields(running)}
    return {name: getattr(running, name) for name in ("endpoint_url", "pid") if name in fields}
