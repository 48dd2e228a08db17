# SPDX-License-Identifier: Apache-2.0
"""`s3crypt doctor`: why a put, get or rotate fails here, and the next command."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from .options import ModeOptions, Settings, common_options, describing_options, option
from .output import (
    EXIT_INTEGRITY,
    EXIT_KEY,
    EXIT_OTHER,
    EXIT_STORAGE,
    EXIT_USAGE,
    print_json,
    print_line,
)

if TYPE_CHECKING:
    from s3crypt.doctor import Diagnosis

_HELP = """Say why a put, get or rotate fails here, and which command mends it.

Credentials, network, TLS, clock, Region, bucket, policies, the object's mode and the KMS keys
are looked at, one after the other. Nothing is written, and no key is unwrapped: permissions
on KMS keys are tried by DryRun. Give the options of the command that fails.

\b
s3crypt doctor                                  this machine, its credentials and network
s3crypt doctor s3://acme/q3.csv                 why a get fails
s3crypt doctor s3://acme/q3.csv --for put --mode sse-kms --key kms:alias/reports

Exit codes: 0 nothing is wrong, 1 something could not be seen, 2 credentials, clock or Region,
3 policy, 4 key, 5 network, bucket or object.
"""
# Area of the first cause -> exit code.
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


@click.command(help=_HELP, short_help="Say why a put, get or rotate fails here.")
@click.argument("uri", metavar="[S3_URI]", required=False)
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
def doctor(settings: Settings, *, uri: str | None, options: ModeOptions, purpose: Any) -> int:
    """Say why a put, get or rotate fails here."""
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
    return _conclude(settings, _shown(settings, found))


def _shown(settings: Settings, found: "Iterable[Diagnosis]") -> "list[Diagnosis]":
    """Print each diagnosis as it comes; return all."""
    kept = []
    for each in found:
        kept.append(each)
        if settings.json:
            print_json(_fields(each))
        elif not settings.quiet:
            print_line(f"{each.outcome:<8} {each.name:<20} {each.seen}")
    return kept


def _conclude(settings: Settings, found: "list[Diagnosis]") -> int:
    """Print the first cause and the next command; return the exit code."""
    from s3crypt.doctor import Outcome, cause_of  # noqa: PLC0415 - boto3

    cause = cause_of(found)
    unknown = [each for each in found if each.outcome is Outcome.UNKNOWN]
    code = _CODES[cause.area] if cause else EXIT_OTHER if unknown else 0
    if settings.json:
        print_json({"conclusion": cause and _fields(cause), "unknown": len(unknown), "exit": code})
        return code
    if cause is not None:
        print_line(f"Cause ({cause.area}): {cause.seen}.")
        if cause.next:
            print_line(f"Next: {cause.next}")
    elif unknown:
        print_line(f"No cause was found; {len(unknown)} of {len(found)} checks could not see all.")
        for each in unknown:
            if each.next:
                print_line(f"Next ({each.name}): {each.next}")
    else:
        print_line("Nothing is wrong.")
    return code


def _fields(each: "Diagnosis") -> dict[str, Any]:
    return {
        "check": each.name,
        "outcome": str(each.outcome),
        "area": str(each.area),
        "seen": each.seen,
        "next": each.next or None,
    }
