# SPDX-License-Identifier: Apache-2.0
"""`s3crypt doctor`: reports why a put, get or rotate fails here, and the next command."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from s3crypt.errors import ConfigError

from .completion import complete_uri
from .help import DocumentedCommand
from .options import (
    ModeOptions,
    Settings,
    common_options,
    describing_options,
    is_from_environment,
    option,
)
from .output import (
    EXIT_INTEGRITY,
    EXIT_KEY,
    EXIT_OTHER,
    EXIT_STORAGE,
    EXIT_USAGE,
    print_json,
    print_line,
    say,
)

if TYPE_CHECKING:
    from s3crypt.doctor import Diagnosis, Doctor, Purpose

_HELP = """Find out why a put, get or rotate fails here, and which command fixes it.

Credentials, network, TLS, clock, Region, bucket, policies, the object's mode and the KMS keys are
checked, one after the other. No key is unwrapped: permissions on KMS keys are tested by DryRun.
Nothing is written, except with --server. Give the options of the failing command.

Exit codes: 0 no fault was found, 1 something could not be checked, 2 credentials, clock or Region,
3 policy, 4 key, 5 network, bucket or object.

\b
s3crypt doctor                            # this machine and its network
s3crypt doctor s3://acme/q3.csv --key kms:alias/reports
s3crypt doctor s3://acme/new.csv --for put --mode sse-kms \\
    --key kms:alias/reports
"""
# The area of the first cause -> the exit code.
_CODES: Mapping[str, int] = {
    "credentials": EXIT_USAGE,
    "clock": EXIT_USAGE,
    "Region": EXIT_USAGE,
    "machine": EXIT_USAGE,
    "policy": EXIT_INTEGRITY,
    "KMS": EXIT_KEY,
    "key state": EXIT_KEY,
    "network": EXIT_STORAGE,
    "S3": EXIT_STORAGE,
    "object state": EXIT_STORAGE,
}


@click.command(
    cls=DocumentedCommand, help=_HELP, short_help="Find out why a put, get or rotate fails here."
)
@click.argument("uri", metavar="[S3_URI]", required=False, shell_complete=complete_uri)
@common_options
@describing_options
@option(
    "--for",
    "purpose",
    environment=False,
    type=click.Choice(("put", "get", "rotate")),
    default="get",
    show_default=True,
    help="The operation that fails.",
)
@option(
    "--server",
    is_flag=True,
    environment=False,
    help="Also test the service with test objects below S3_URI, which are removed afterwards.",
)
def doctor(
    settings: Settings, *, uri: str | None, options: ModeOptions, purpose: Any, server: bool
) -> int:
    """Find out why a put, get or rotate fails here."""
    from s3crypt.doctor import Doctor  # noqa: PLC0415 - boto3, which --help must not cost

    examiner = Doctor(
        session=settings.session,
        allow_plain_http=settings.allow_plain_http,
        expected_bucket_owner=settings.expected_bucket_owner,
    )
    found = examiner.diagnose(
        uri,
        purpose=purpose,
        mode=options.mode_for(settings),
        keys=options.values.get("key", ()),
    )
    diagnoses = _shown(settings, (_without_option(settings, each) for each in found))
    if server:
        _show_server(settings, examiner, uri)
    return _conclude(settings, diagnoses, purpose)


def _without_option(settings: Settings, each: "Diagnosis") -> "Diagnosis":
    """Return a diagnosis whose next step changes --endpoint-url if the command line has the option.

    The option takes precedence over the environment variables that the library's advice changes.
    """
    what, _, rest = each.next.partition(" AWS_ENDPOINT_URL")
    if not settings.endpoint_url or is_from_environment("endpoint_url"):
        return each
    if what == "unset":
        return replace(each, next="Omit --endpoint-url, or start the service at that address.")
    if what == "export":
        return replace(each, next=f"Give --endpoint-url {rest.partition('=')[2]}")
    return each


def _show_server(settings: Settings, examiner: "Doctor", uri: str | None) -> None:
    """Run the trials of the service, and print their results."""
    if uri is None:
        raise ConfigError("--server needs a bucket to write to.", hint="s3crypt doctor s3://BUCKET")
    if not settings.silent:
        say(f"Test objects are written below {uri}, and removed afterwards.")
    for each in examiner.try_server(uri):
        if settings.json:
            print_json({"trial": each.trial, "verdict": str(each.verdict), "note": each.note})
        else:
            print_line(f"{each.verdict:<13}  {each.trial:<34}  {each.note}".rstrip())


def _shown(settings: Settings, found: "Iterable[Diagnosis]") -> "list[Diagnosis]":
    """Print each diagnosis as it is made, and return all of them."""
    kept = []
    for each in found:
        kept.append(each)
        if settings.json:
            print_json(_fields(each))
        elif not settings.quiet:
            print_line(f"{each.outcome:<8} {each.name:<20} {each.seen}")
    return kept


def _conclude(settings: Settings, found: "list[Diagnosis]", purpose: "Purpose") -> int:
    """Print the first cause and the next command; return the exit code."""
    from s3crypt.doctor import Outcome, cause_of  # noqa: PLC0415 - boto3

    cause = cause_of(found)
    unknown = [each for each in found if each.outcome is Outcome.UNKNOWN]
    code = _CODES[cause.area] if cause else EXIT_OTHER if unknown else 0
    if settings.json:
        print_json({"conclusion": cause and _fields(cause), "unknown": len(unknown), "exit": code})
        return code
    if cause is not None:
        others = [each for each in found if each.outcome is Outcome.WRONG and each is not cause]
        if others:
            names = ", ".join(dict.fromkeys(each.name for each in others))
            print_line(f"Further faults, which may be independent: {names}.")
        print_line(f"Cause ({cause.area}): {cause.seen}.")
        if cause.next:
            print_line(f"Next: {cause.next}")
    elif unknown:
        print_line(f"No cause was found; {len(unknown)} of {len(found)} checks are incomplete.")
        for each in unknown:
            if each.next:
                print_line(f"Next ({each.name}): {each.next}")
    elif purpose == "get":
        is_read = any(each.name == "reading" for each in found)
        print_line("Nothing is wrong." if is_read else "No fault was found.")
    else:
        print_line("No fault was found; nothing was written, so your own policies were not tested.")
    return code


def _fields(each: "Diagnosis") -> dict[str, Any]:
    return {
        "check": each.name,
        "outcome": str(each.outcome),
        "area": str(each.area),
        "seen": each.seen,
        "next": each.next or None,
    }
