# SPDX-License-Identifier: Apache-2.0
"""`s3crypt policy apply`: merges the policy in a file into the policy of a bucket or key."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from s3crypt.errors import ConfigError, LocalFileNotFoundError, StorageError
from s3crypt.policy.merging import parse_wanted

from .asking import is_agreed
from .help import DocumentedCommand
from .options import Settings, common_options, option
from .output import print_json, print_line, say
from .places import dry_run_option

if TYPE_CHECKING:
    from s3crypt.policy import Document
    from s3crypt.policy_changes import Applied, Plan, PolicyWriter

_HELP = """Merge the policy in FILE into the policy of a bucket or a KMS key.

Only statements whose Sid begins with S3crypt are added, replaced and removed; all others stay. The
difference is shown and, after a question or with --yes, the current policy is saved to a file, and
the merged one is written and read back. A change is refused if you could no longer change the
policy, or if that is not certain.

The command printed at the end undoes the change.

\b
s3crypt policy apply bucket.json s3://acme --dry-run
s3crypt policy apply key.json alias/reports --yes
"""


save_in_option = option(
    "--save-in",
    environment=False,
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="FOLDER",
    help="Where to save the policy that is replaced.  [default: the current folder]",
)


@click.command(
    cls=DocumentedCommand,
    help=_HELP,
    short_help="Merge a policy into the policy of a bucket or a key.",
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("target", metavar="s3://BUCKET|KEY")
@save_in_option
@dry_run_option
@option("--yes", "-y", is_flag=True, environment=False, help="Write without asking.")
@common_options(service="aws")
def apply(
    settings: Settings, *, file: Path, target: str, save_in: Path, dry_run: bool, yes: bool
) -> None:
    """Merge the policy in FILE into the policy of a bucket or a KMS key."""
    from s3crypt.policy_changes import PolicyWriter  # noqa: PLC0415 - boto3

    writer = PolicyWriter(session=settings.session, allow_plain_http=settings.allow_plain_http)
    plan = writer.plan(read_policy(file), target.removeprefix("kms:"))
    carry_out(settings, writer, plan, save_in=save_in, dry_run=dry_run, yes=yes)


def carry_out(
    settings: Settings,
    writer: "PolicyWriter",
    plan: "Plan",
    *,
    save_in: Path,
    dry_run: bool,
    yes: bool,
) -> None:
    """Show a planned change of a policy and, once it is agreed, make it.

    Raises:
        PolicyError: The change is refused.
        ConfigError: There is no terminal to ask for confirmation on.
    """
    _show(settings, plan)
    plan.check()
    if not plan.changes or dry_run:
        _tell_unwritten(settings, plan)
    elif is_agreed(f"Write the policy of {plan.target}?", yes=yes):
        _show_applied(settings, writer.apply(plan, folder=save_in))
    else:
        _tell(settings, f"The policy of {plan.target} was not changed.")


def read_policy(file: Path) -> "Document":
    """Return the policy in a file."""
    try:
        return parse_wanted(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise LocalFileNotFoundError(f"{file}: no such file.", hint="Check the path.") from error
    except OSError as error:
        raise StorageError(f"{file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not a text file.") from error
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}", hint=error.hint) from error


def _show(settings: Settings, plan: "Plan") -> None:
    """Show the difference, and the statements that a person should review."""
    if settings.json:
        return
    for line in plan.lines():
        print_line(line)
    if plan.judgement.not_understood:
        names = ", ".join(plan.judgement.not_understood)
        _tell(settings, f"Not understood, and kept as they are: {names}.")
    if plan.merged.perhaps_edited and not plan.is_whole:
        names = ", ".join(plan.merged.perhaps_edited)
        _tell(settings, f"Made with other options, or edited by hand: {names}.")


def _tell_unwritten(settings: Settings, plan: "Plan") -> None:
    if settings.json:
        print_json({**_fields(plan), "written": False})
    elif plan.changes:
        _tell(settings, f"The policy of {plan.target} was not changed.")
    else:
        _tell(settings, f"The policy of {plan.target} needs no change.")


def _show_applied(settings: Settings, applied: "Applied") -> None:
    plan = applied.plan
    if settings.json:
        told = {"written": True, "saved": str(applied.saved), "undo": applied.undo}
        print_json({**_fields(plan), **told})
        return
    _tell(
        settings, f"The policy of {plan.target} is written. {applied.saved} has the earlier policy."
    )
    print_line(f"undo: {applied.undo}")


def _fields(plan: "Plan") -> dict[str, Any]:
    return {
        "target": str(plan.target),
        "caller": plan.identity.caller.arn,
        "statements": [
            {
                "sid": each.sid,
                "change": each.change.value,
                "was": each.was and each.was.to_json(),
                "becomes": each.becomes and each.becomes.to_json(),
            }
            for each in plan.differences
        ],
        "not_understood": plan.judgement.not_understood,
    }


def _tell(settings: Settings, text: str) -> None:
    if not settings.silent:
        say(text)
