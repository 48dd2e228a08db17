# SPDX-License-Identifier: Apache-2.0
"""Policies as they would have to be: lines of the AWS command line interface that mend them.

Makes no request. Whether a statement that denies a request is meant is for its owner to say.
"""

import shlex
from collections.abc import Callable
from dataclasses import replace

from s3crypt.policy import Caller, Document, Principal, Statement


def bucket_policy_without(
    bucket: str, region: str, document: Document, denies: Callable[[Statement], bool]
) -> str:
    """Return the line that takes the statements that deny a request out of a bucket's policy."""
    kept = tuple(each for each in document.statements if not denies(each))
    where = f"--bucket {bucket}"
    if not kept:
        return f"aws s3api delete-bucket-policy {where} --region {region}"
    text = shlex.quote(replace(document, statements=kept).render(indent=None))
    return f"aws s3api put-bucket-policy {where} --policy {text} --region {region}"


def key_policy_without(arn: str, document: Document, denies: Callable[[Statement], bool]) -> str:
    """Return the line that takes the statements that deny a request out of a key's policy."""
    kept = tuple(each for each in document.statements if not denies(each))
    return _put_key_policy(arn, replace(document, statements=kept))


def key_policy_with(arn: str, document: Document, caller: Caller, actions: tuple[str, ...]) -> str:
    """Return the line that lets a caller use a key."""
    allowing = Statement(
        "Allow",
        principals=(Principal("AWS", str(caller.arn)),),
        actions=actions,
        resources=("*",),
    )
    return _put_key_policy(arn, replace(document, statements=(*document.statements, allowing)))


def region_of_arn(arn: str) -> str:
    """Return the Region in an ARN."""
    return arn.split(":")[3]


def _put_key_policy(arn: str, document: Document) -> str:
    text = shlex.quote(document.render(indent=None))
    where = f"--key-id {arn} --policy-name default"
    return f"aws kms put-key-policy {where} --policy {text} --region {region_of_arn(arn)}"
