# SPDX-License-Identifier: Apache-2.0
"""`s3crypt bucket`: make a bucket that passes an audit, or harden an existing bucket."""

import functools
from typing import TYPE_CHECKING, Any

import click

from .asking import is_agreed
from .help import DocumentedGroup
from .options import Command, Settings, common_options, option
from .output import print_json, print_line, print_wrapped, say
from .places import dry_run_option

if TYPE_CHECKING:
    from s3crypt.hardening import BucketManager, Change, Plan, Wanted

_LOCKED = "Object Lock cannot be turned off again, for as long as the bucket exists. Turn it on?"


_HELP = """Make a bucket that passes an audit, or harden an existing bucket.

\b
s3crypt bucket init acme --dry-run          # what would be made
s3crypt bucket init acme --yes
s3crypt bucket harden old --despite acl-grants --yes
"""
_INIT_HELP = """Make a bucket that passes the controls of Security Hub.

The bucket gets its own KMS key with a Bucket Key, versioning, one owner, no public access, TLS
only, no SSE-C, an access log in a separate bucket, and a rule that aborts incomplete uploads. The
command names each control that the bucket does not pass, with the reason.

The command first checks what exists and shows the changes. It makes them after a question on a
terminal, or with --yes. To finish an interrupted run, run the command again.

\b
s3crypt bucket init acme --dry-run
s3crypt bucket init acme --replica eu-west-1 --trail --yes
"""
_HARDEN_HELP = """Give an existing bucket the settings of `init`, without breaking it.

The command first looks for uses that would stop working: grants in access lists, objects under
customer keys, replication rules that skip SSE-KMS objects, other accounts and services that use the
objects, policies that grant public access. It does not change a setting that would break such a
use, unless --despite names the obstacle.

Each change is printed with the command that undoes it. A second run changes nothing.

\b
s3crypt bucket harden acme --dry-run
s3crypt bucket harden acme --despite sse-c-objects --yes
"""


@click.group(cls=DocumentedGroup, help=_HELP)
def bucket() -> None:
    """Make a bucket that passes an audit, or harden an existing bucket."""


def _bucket_options(command: Command) -> Command:
    """Give a command the options of `init` and `harden`, as its argument `wanted`."""

    @functools.wraps(command)
    def wrapper(**values: Any) -> Any:
        names = ("bucket", "logs", "trail", "lock", "replica", "despite")
        wanted = {name: values.pop(name) for name in names}
        return command(**values, wanted=wanted)

    given: Command = wrapper
    for add in reversed(_OPTIONS):
        given = add(given)
    return given


_OPTIONS = (
    click.argument("bucket", metavar="BUCKET"),
    option(
        "--logs",
        environment=False,
        metavar="BUCKET",
        help="The bucket for the access log; created if absent.  [default: BUCKET-logs]",
    ),
    option(
        "--trail",
        is_flag=True,
        environment=False,
        help="Make a trail that records reads and writes of the objects in all buckets.",
    ),
    option(
        "--lock",
        is_flag=True,
        environment=False,
        help="Turn Object Lock on. It cannot be turned off again, so the command asks twice.",
    ),
    option(
        "--replica",
        environment=False,
        metavar="REGION",
        help="Replicate new objects to the bucket BUCKET-REGION; created if absent.",
    ),
    option(
        "--despite",
        multiple=True,
        environment=False,
        metavar="NAME",
        help="Make the change that an obstacle, such as acl-grants, prevents; repeatable. The "
        "obstacles of a bucket are shown with --dry-run.",
    ),
    dry_run_option,
    option(
        "--yes",
        "-y",
        count=True,
        environment=False,
        help="Make the changes without asking; twice if one of them is Object Lock.",
    ),
)


@bucket.command(help=_INIT_HELP)
@_bucket_options
@common_options(service="aws")
def init(settings: Settings, *, wanted: dict[str, Any], dry_run: bool, yes: int) -> None:
    """Make a bucket that passes the controls of Security Hub."""
    _run(settings, _wanted(wanted, may_create=True), dry_run=dry_run, yes=yes)


@bucket.command(help=_HARDEN_HELP, short_help="Give an old bucket the settings of `init`.")
@_bucket_options
@common_options(service="aws")
def harden(settings: Settings, *, wanted: dict[str, Any], dry_run: bool, yes: int) -> None:
    """Give an existing bucket the settings of `init`, without breaking it."""
    _run(settings, _wanted(wanted, may_create=False), dry_run=dry_run, yes=yes)


def _wanted(values: dict[str, Any], *, may_create: bool) -> "Wanted":
    from s3crypt.hardening import Wanted  # noqa: PLC0415 - boto3, which --help must not cost

    return Wanted(
        bucket=values["bucket"].removeprefix("s3://").removesuffix("/"),
        may_create=may_create,
        logs=values["logs"] or "",
        trail=values["trail"],
        lock=values["lock"],
        replica=values["replica"],
        despite=frozenset(values["despite"]),
    )


def _run(settings: Settings, wanted: "Wanted", *, dry_run: bool, yes: int) -> None:
    """Plan the changes, show them, ask for confirmation, and make them."""
    from s3crypt.hardening import BucketManager  # noqa: PLC0415 - boto3

    manager = BucketManager(session=settings.session, allow_plain_http=settings.allow_plain_http)
    plan = manager.plan(wanted)
    # With --yes, and --quiet or --json, changes are shown only after they are made.
    if dry_run or not (settings.silent and yes):
        _show_changes(settings, plan)
    if not settings.quiet:
        _show_rest(settings, plan)
    if not plan.changes:
        _tell(settings, f"s3://{wanted.bucket}: there is nothing to change.")
    elif not dry_run and _may(plan, yes):
        _make(settings, manager, wanted, plan)


def _may(plan: "Plan", yes: int) -> bool:
    """Return whether to make the changes; Object Lock needs a separate confirmation."""
    question = f"Make {_changes(len(plan.changes))}?"
    if not is_agreed(question, yes=yes > 0):
        return False
    locks = any(change.name == "object lock" for change in plan.changes)
    return not locks or is_agreed(_LOCKED, yes=yes > 1)


def _make(settings: Settings, manager: "BucketManager", wanted: "Wanted", plan: "Plan") -> None:
    count = 0
    for change in manager.make(wanted, plan):
        count += 1
        if settings.json:
            print_json({**_fields(change), "made": True})
        elif not settings.quiet:
            print_line(f"{change.subject}: {change.name}: done")
            print_line(f"  undo: {change.undo or 'cannot be undone'}")
    _tell(settings, f"{_changes(count)} made. To undo them, run the undo lines, the last first.")


def _changes(count: int) -> str:
    return f"{count} change{'' if count == 1 else 's'}"


def _show_changes(settings: Settings, plan: "Plan") -> None:
    for change in plan.changes:
        if settings.json:
            print_json({**_fields(change), "made": False})
            continue
        controls = f" ({', '.join(change.controls)})" if change.controls else ""
        print_line(f"{change.subject}: {change.name}{controls}")
        print_wrapped(change.what)


def _show_rest(settings: Settings, plan: "Plan") -> None:
    """Show the settings that are left unchanged, and the controls that stay unmet."""
    for each in plan.obstacles:
        if settings.json:
            print_json({"obstacle": each.name, "why": each.what, "left": list(each.holds)})
            continue
        print_line(f"left as it is: {', '.join(each.holds)}, because of {each.name}")
        print_wrapped(each.what)
        print_line(f"  to change it nevertheless: --despite {each.name}")
    for shortfall in plan.shortfalls:
        if settings.json:
            print_json({"not_passed": shortfall.control, "why": shortfall.why})
            continue
        option = _PASSED_WITH.get(shortfall.control)
        print_line(f"not passed: {shortfall.control}{f' (see {option})' if option else ''}")
        print_wrapped(shortfall.why)
    for remark in plan.remarks:
        _tell(settings, remark)


# Control -> the option that makes a bucket pass it.
_PASSED_WITH = {"S3.15": "--lock", "S3.22": "--trail", "S3.23": "--trail"}


def _fields(change: "Change") -> dict[str, Any]:
    return {
        "subject": change.subject,
        "change": change.name,
        "what": change.what,
        "controls": list(change.controls),
        "undo": change.undo,
    }


def _tell(settings: Settings, text: str) -> None:
    if not settings.silent:
        say(text)
