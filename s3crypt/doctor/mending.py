# SPDX-License-Identifier: Apache-2.0
"""Builds corrected policies, and the AWS CLI commands that would install them.

This module makes no requests. A Deny statement may protect the resource, so no statement is ever
removed, and s3crypt's own statements are not changed.
"""

from collections.abc import Callable
from dataclasses import replace

from s3crypt.buckets.configuration import line
from s3crypt.buckets.settings import BucketPolicy
from s3crypt.command_lines import aws
from s3crypt.policy import Caller, Condition, Document, Principal, Statement

_OTHERS, _CALLER = "ArnNotEquals", "aws:PrincipalArn"


def sparing(document: Document, denies: Callable[[Statement], bool], caller: Caller) -> Document:
    """Return a policy in which the caller is excepted from the statements that deny a request.

    `denies` returns whether a statement denies the request. No statement is removed.
    """
    arn = str(caller.arn)
    changed = (
        replace(each, conditions=_sparing(each.conditions, arn)) if denies(each) else each
        for each in document.statements
    )
    return replace(document, statements=tuple(changed))


def _sparing(conditions: tuple[Condition, ...], arn: str) -> tuple[Condition, ...]:
    of_others = [each for each in conditions if _is_of_others(each)]
    kept = tuple(each for each in conditions if not _is_of_others(each))
    values = tuple(value for each in of_others for value in each.values)
    return (*kept, Condition(_OTHERS, _CALLER, (*values, arn)))


def _is_of_others(condition: Condition) -> bool:
    return condition.operator == _OTHERS and condition.key.lower() == _CALLER.lower()


def put_bucket_policy(bucket: str, region: str, document: Document) -> str:
    """Return the command line that writes a bucket's policy."""
    return line(bucket, region, BucketPolicy(document))


def key_policy_with(arn: str, document: Document, caller: Caller, actions: tuple[str, ...]) -> str:
    """Return the command line that adds a statement to a key policy.

    The statement allows the caller `actions` on the key.
    """
    allowing = Statement(
        "Allow",
        principals=(Principal("AWS", str(caller.arn)),),
        actions=actions,
        resources=("*",),
    )
    return put_key_policy(arn, replace(document, statements=(*document.statements, allowing)))


def region_of_arn(arn: str) -> str:
    """Return the Region that an ARN names."""
    return arn.split(":")[3]


def put_key_policy(arn: str, document: Document) -> str:
    """Return the command line that writes a key's policy."""
    named = {"KeyId": arn, "PolicyName": "default", "Policy": document.render(indent=None)}
    return aws("kms", "put_key_policy", region_of_arn(arn), **named)
