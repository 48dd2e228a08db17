# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys policy show`, `check` and `set`: the whole policy of a key."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from s3crypt.errors import PolicyError

from ..help import DocumentedGroup
from ..options import Settings, common_options, option
from ..output import print_json, print_line, print_script
from ..places import dry_run_option
from ..policy_apply import carry_out, read_policy, save_in_option
from .common import key_argument, manager_of, named, tell, yes_option

if TYPE_CHECKING:
    from s3crypt.policy import KeyPolicyCheck

_SET_HELP = """Replace a key's policy by the policy in FILE.

The difference is shown and, after a question or with --yes, the current policy is saved to a file,
and the new one is written and read back. A policy is refused if you or the key's account could no
longer change it, or if that is not certain.

The command printed at the end undoes the change.

`s3crypt policy apply` replaces only the statements that s3crypt makes.

\b
s3crypt keys policy show alias/reports > key.json
s3crypt keys policy set alias/reports key.json --dry-run
"""


@click.group("policy", cls=DocumentedGroup)
def policy() -> None:
    """Show, check and replace the policy of a key.

    \b
    s3crypt keys policy show alias/reports > key.json
    s3crypt keys policy check alias/reports
    s3crypt keys policy set alias/reports key.json --dry-run
    """


@policy.command()
@key_argument
@option("--words", is_flag=True, environment=False, help="Who may administer, use and grant.")
@common_options(service="kms")
def show(settings: Settings, *, key: str, words: bool) -> None:
    """Print the policy of a key as JSON, or in words.

    \b
    s3crypt keys policy show alias/reports --words
    """
    manager = manager_of(settings)
    if not words:
        print_script(manager.policy(named(key)).render(indent=None if settings.json else 2))
        return
    _show_rights(settings, manager.check_policy(named(key)))


@policy.command()
@key_argument
@common_options(service="kms")
def check(settings: Settings, *, key: str) -> None:
    """Check who may administer, use and grant a key by its policy.

    Exit code 3 says that the policy lets everyone use the key (KMS.5), or that the key's
    account cannot replace the policy. If that is not certain, a warning gives the reason.

    \b
    s3crypt keys policy check alias/reports
    """
    found = manager_of(settings).check_policy(named(key))
    _show_rights(settings, found)
    if found.uncertainty:
        account = found.key_arn.split(":")[4]
        tell(settings, f"warning: It is not certain that the account {account} can replace the")
        tell(settings, f"policy, with which it could end any lock-out. {found.uncertainty}")
    if found.failures:
        raise PolicyError(
            f"{found.key_arn}: {' '.join(found.failures)}",
            hint=f"Change it: s3crypt keys policy set {found.key_arn} FILE",
        )


@policy.command("set", help=_SET_HELP, short_help="Replace the policy of a key.")
@key_argument
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@save_in_option
@dry_run_option
@yes_option
@common_options(service="aws")
def set_policy(
    settings: Settings, *, key: str, file: Path, save_in: Path, dry_run: bool, yes: bool
) -> None:
    """Replace the policy of a key."""
    from s3crypt.policy_changes import PolicyWriter  # noqa: PLC0415 - boto3

    writer = PolicyWriter(session=settings.session, allow_plain_http=settings.allow_plain_http)
    plan = writer.plan_whole(read_policy(file), named(key))
    carry_out(settings, writer, plan, save_in=save_in, dry_run=dry_run, yes=yes)


def _show_rights(settings: Settings, found: "KeyPolicyCheck") -> None:
    rights = found.rights
    if settings.json:
        kinds = {"administer": rights.administer, "use": rights.use, "grant": rights.grant}
        print_json(
            {
                "key_arn": found.key_arn,
                **{kind: [each.words for each in kinds[kind]] for kind in kinds},
                "denied": rights.denied,
                "not_understood": dict(rights.not_understood),
                "controls": {each.control: str(each.status) for each in found.findings},
                "account_may_replace_policy": str(found.control.verdict),
                "failures": found.failures,
            }
        )
        return
    width = max(len(kind) for kind, _ in rights.lines())
    for kind, words in rights.lines():
        print_line(f"{kind:<{width}}  {words}")


COMMANDS = (policy,)
