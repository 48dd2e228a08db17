# SPDX-License-Identifier: Apache-2.0
"""`s3crypt policy check`: a table of requests, with the verdict of the policies on each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from s3crypt.errors import ConfigError, LocalFileNotFoundError, PolicyError, StorageError
from s3crypt.policy import (
    OTHERS,
    Document,
    Documents,
    Kind,
    Role,
    Status,
    bucket_policy,
    expectations,
    facts_of,
    findings,
    iam_policy,
    judged,
    key_policy,
    kind_of,
)

from .help import DocumentedCommand
from .options import Settings, common_options, option
from .output import print_json, print_line, print_wrapped, say
from .scopes import bucket_name, reader_of, scope_value_options, taken

if TYPE_CHECKING:
    from s3crypt.policy import Decision, Expectation, Scope, Who
    from s3crypt.policy_reading import PolicyReader

_WHO = (*(role.value for role in Role), OTHERS)

_HELP = """Decide a table of requests by the policies of a role, a bucket and its key together.

Each target is a policy file, or a bucket or key with its current policy. For a policy that is not
named, the policy that s3crypt makes is used. No request of the table is sent.

Each request is allowed, denied or not understood: an element that s3crypt does not know is
never guessed. Exit code 3 says that a verdict is not the expected one.

\b
s3crypt policy check bucket.json --as writer
s3crypt policy check s3://acme alias/reports --as reader --as others
"""


@dataclass(frozen=True, slots=True)
class _Given:
    """A document to be checked.

    Attributes:
        target: The document's name on the command line.
        id: The bucket's name or the key's ARN, if the document was read from a bucket or key.
    """

    target: str
    kind: Kind
    document: Document | None
    id: str | None = None


@click.command(
    cls=DocumentedCommand, help=_HELP, short_help="Decide a table of requests by policies."
)
@click.argument("targets", metavar="FILE|s3://BUCKET|KEY...", nargs=-1, required=True)
@option(
    "--as",
    "callers",
    environment=False,
    multiple=True,
    required=True,
    type=click.Choice(_WHO),
    help=(
        "The role that makes the requests; repeatable. others: administrators, services, other "
        "accounts."
    ),
)
@option("--bucket", environment=False, metavar="NAME", help="The bucket, if no document names it.")
@option(
    "--access-analyzer",
    environment=False,
    is_flag=True,
    help="Also ask IAM Access Analyzer about the documents.",
)
@common_options(service="aws")
@scope_value_options
def check(
    settings: Settings,
    *,
    targets: tuple[str, ...],
    callers: tuple[str, ...],
    bucket: str | None,
    access_analyzer: bool,
    **values: Any,
) -> None:
    """Decide a table of requests by the policies of a role, a bucket and its key together."""
    reader, given = reader_of(settings), taken(values)
    found = [_loaded(reader, target) for target in targets]
    _check_places(found)
    scope = _scope(reader, found, bucket, given)
    checked = [
        (who, *pair)
        for who in map(_who, callers)
        for pair in judged(expectations(who, scope), _documents(found, who, scope))
    ]
    _show(settings, checked)
    failing = _show_controls(settings, found)
    if access_analyzer:
        _show_analysis(settings, reader, found)
    wrong = sum(decision.verdict is not each.verdict for _, each, decision in checked)
    _conclude(settings, len(checked), wrong, failing)


def _conclude(settings: Settings, count: int, wrong: int, failing: Sequence[str]) -> None:
    if wrong:
        raise PolicyError(
            f"{wrong} of {count} verdicts are not as expected.",
            hint="`s3crypt policy bucket`, `key` and `iam` print policies that are as expected; "
            "--mode, --prefix, --strict and --role-arn change what is expected.",
        )
    if failing:
        raise PolicyError(
            f"A document fails {', '.join(dict.fromkeys(failing))}.",
            hint="Name the ARNs of keys as Resource, and the account as Principal.",
        )
    if not settings.silent:
        say(f"{count} verdicts, all as expected.")


def _loaded(reader: "PolicyReader", target: str) -> _Given:
    """Return the document of a file, a bucket or a key."""
    if target.startswith("s3://"):
        name = bucket_name(target)
        return _Given(target, Kind.BUCKET, reader.of_bucket(name), name)
    path = Path(target)
    if not path.exists() and (_is_key(target) or not _is_path(target)):
        arn = reader.key_arn(target.removeprefix("kms:"))
        return _Given(target, Kind.KEY, reader.of_key(arn), arn)
    try:
        document = Document.parse(path.read_text("utf-8"))
        kind = kind_of(document)
    except FileNotFoundError as error:
        raise LocalFileNotFoundError(f"{path}: no such file.", hint="Check the path.") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file.") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}", hint=error.hint) from error
    if kind is Kind.TRUST:
        raise ConfigError(
            f"{path} is a trust policy, which decides no request about objects and keys.",
            hint="Name the policy of a bucket, a key or a role.",
        )
    return _Given(target, kind, document)


def _check_places(found: Sequence[_Given]) -> None:
    """Refuse two documents for the same place: one of them would not be checked."""
    places: dict[tuple[Kind, str | None], str] = {}
    for each in found:
        place = (each.kind, each.id if each.kind is Kind.KEY else None)
        other = places.setdefault(place, each.target)
        if other is not each.target:
            raise ConfigError(
                f"{other} and {each.target} are both the {each.kind}: only one of them can decide.",
                hint="Check one of them at a time.",
            )


def _is_key(target: str) -> bool:
    return target.startswith(("alias/", "arn:", "kms:"))


def _is_path(target: str) -> bool:
    # A key id has neither a dot nor a slash.
    return "." in target or "/" in target


def _scope(
    reader: "PolicyReader", found: Sequence[_Given], bucket: str | None, given: dict[str, Any]
) -> "Scope":
    """Return the scope from the options and the names in the documents."""
    facts = facts_of(each.document for each in found if each.document)
    names = [each.id for each in found if each.kind is Kind.BUCKET and each.id]
    buckets = [bucket] if bucket else list(dict.fromkeys([*names, *facts.buckets]))
    if len(buckets) != 1:
        many = f"Several buckets are named: {', '.join(buckets)}." if buckets else None
        raise ConfigError(
            many or "Nothing names the bucket.", hint="Name the bucket: --bucket NAME"
        )
    keys = [each.id for each in found if each.kind is Kind.KEY and each.id]
    more = dict(given)
    if not more["key_arns"] and more["mode"] != "sse-s3":
        more["key_arns"] = tuple(dict.fromkeys([*keys, *facts.keys]))
    return reader.scope(bucket_name(buckets[0]), **more)


def _documents(found: Sequence[_Given], who: "Who", scope: "Scope") -> Documents:
    """Return the given documents, and s3crypt's own document where no document was given."""
    made = Documents(
        iam_policy(who, scope) if isinstance(who, Role) else None,
        bucket_policy(scope),
        {arn: key_policy(scope, arn) for arn in scope.all_keys},
    )
    for each in found:
        if each.kind is Kind.BUCKET:
            made = replace(made, bucket=each.document)
        elif each.kind is Kind.KEY and each.document:
            arns = (each.id,) if each.id else scope.all_keys
            made = replace(made, keys={**made.keys, **dict.fromkeys(arns, each.document)})
        elif isinstance(who, Role):
            made = replace(made, identity=each.document)
    return made


def _who(text: str) -> "Who":
    return OTHERS if text == OTHERS else Role(text)


_Checked = Sequence[tuple["Who", "Expectation", "Decision"]]


def _show(settings: Settings, checked: _Checked) -> None:
    if settings.json:
        for who, expected, decision in checked:
            print_json(_fields(who, expected, decision))
        return
    blocks: dict[tuple[str, str], dict[str, None]] = {}
    for who, expected, decision in _unexpected_last(checked):
        head = f"{who}: {expected.words}: {_verdict(expected, decision)}"
        by = ", ".join(decision.statements) or decision.reason
        blocks.setdefault((head, by), {})[expected.request.action] = None
    for (head, by), actions in blocks.items():
        print_line(head)
        print_wrapped(", ".join(actions))
        print_wrapped(f"by {by}" if not by.endswith(".") else by)


def _unexpected_last(checked: _Checked) -> _Checked:
    """Return the verdicts with the unexpected ones last, next to the error message."""
    return sorted(checked, key=lambda each: each[2].verdict is not each[1].verdict)


def _verdict(expected: "Expectation", decision: "Decision") -> str:
    if decision.verdict is expected.verdict:
        return str(decision.verdict)
    return f"{decision.verdict} (expected: {expected.verdict})"


def _fields(who: "Who", expected: "Expectation", decision: "Decision") -> dict[str, Any]:
    request = expected.request
    return {
        "as": str(who),
        "caller": request.caller.arn,
        "action": request.action,
        "resource": request.resource,
        "context": dict(request.context),
        "request": expected.words,
        "verdict": str(decision.verdict),
        "expected": str(expected.verdict),
        "statements": decision.statements,
        "reason": decision.reason,
    }


def _show_controls(settings: Settings, found: Sequence[_Given]) -> list[str]:
    """Show the results of Security Hub's controls; return the names of failed controls."""
    failing = []
    for target, finding in _controls(found):
        if finding.status is Status.FAILED:
            failing.append(finding.control)
        if settings.json:
            print_json(
                {
                    "control": finding.control,
                    "policy": target,
                    "status": str(finding.status),
                    "statement": finding.statement,
                    "reason": finding.reason,
                }
            )
        else:
            at = f" ({finding.statement})" if finding.statement else ""
            line = f"{finding.control}  {finding.status}  {target}{at}: {finding.reason}"
            print_line(line)
    return failing


def _controls(found: Sequence[_Given]) -> Iterator[tuple[str, Any]]:
    for each in found:
        # The document of a role's policy does not show whether the policy is managed or inline.
        kinds = (Kind.MANAGED, Kind.ROLE) if each.kind is Kind.ROLE else (each.kind,)
        for kind in kinds if each.document else ():
            for finding in findings(each.document, kind) if each.document else ():
                yield each.target, finding


def _show_analysis(settings: Settings, reader: "PolicyReader", found: Sequence[_Given]) -> None:
    """Show IAM Access Analyzer's findings, or that it was not available."""
    for each in found:
        if each.document is None:
            continue
        try:
            said = reader.findings(each.document, each.kind)
        except StorageError as error:
            say(f"s3crypt: Access Analyzer was not asked about {each.target}: {error}")
            continue
        for finding in said:
            if settings.json:
                print_json({"policy": each.target, "access_analyzer": finding.code,
                            "type": finding.type, "details": finding.details})  # fmt: skip
            else:
                print_line(f"{finding.type}  {each.target}: {finding.details}")
        if not said and not settings.silent:
            say(f"Access Analyzer finds nothing in {each.target}.")
