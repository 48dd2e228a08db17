# SPDX-License-Identifier: Apache-2.0
"""Checks whether there are credentials, where they come from, and to whom they belong."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError

from s3crypt.aws_errors import reply_headers, translate
from s3crypt.caller import identify
from s3crypt.errors import ConfigError, S3CryptError
from s3crypt.requests import call

from .refusals import SIGN_IN, of_error
from .values import Area, Diagnosis, Outcome

if TYPE_CHECKING:
    import boto3

    from .known import Known, Services

# botocore's names of credential sources -> the command that renews the credentials.
_RENEWALS = {
    "env": "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN  # and export new ones",
    "login": "aws login",
    "shared-credentials-file": "aws configure",
}


def check_credentials(session: "boto3.Session", known: "Known") -> Iterator[Diagnosis]:
    """Report whether there are credentials, and their source."""
    try:
        found: Any = session.get_credentials()
        frozen = found and found.get_frozen_credentials()
    except BotoCoreError as error:
        yield of_error("credentials", Area.CREDENTIALS, translate(error, "AWS", ConfigError))
        return
    if not frozen or not frozen.access_key:
        yield Diagnosis(
            "credentials",
            Outcome.WRONG,
            Area.CREDENTIALS,
            "no credentials in the environment, in a profile or from a role of this machine",
            "aws configure sso  # or export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
        return
    known.has_credentials = True
    kind = "of a session" if frozen.token else "of a user, which do not expire"
    yield Diagnosis("credentials", Outcome.OK, Area.CREDENTIALS, f"found by {found.method}, {kind}")


def check_identity(
    session: "boto3.Session", services: "Services", known: "Known"
) -> Iterator[Diagnosis]:
    """Report the identity of the caller, which STS returns without any permission."""
    if not known.has_credentials:
        yield _of_identity(Outcome.SKIPPED, "there are no credentials")
        return
    if not services.are_of_one_provider:
        yield _of_identity(
            Outcome.SKIPPED,
            "this S3 is not AWS's, so its credentials are not sent to AWS's STS and KMS",
        )
        return
    try:
        reply = call(services.sts.get(), "get_caller_identity", {}, "the identity of the caller")
        known.dates += _date(reply["ResponseMetadata"].get("HTTPHeaders", {}))
        known.identity = identify(services.sts, services.iam)
    except S3CryptError as error:
        known.dates += _date(reply_headers(error))
        found = of_error("identity", Area.CREDENTIALS, error)
        yield _renewed(found, session)
        return
    yield _of_identity(Outcome.OK, f"{known.identity.arn}")


def _renewed(found: Diagnosis, session: "boto3.Session") -> Diagnosis:
    if found.next != SIGN_IN:
        return found
    method = str(getattr(session.get_credentials(), "method", ""))
    renewal = _RENEWALS.get(method, SIGN_IN)
    return Diagnosis(found.name, found.outcome, found.area, found.seen, renewal)


def _date(headers: Any) -> list[str]:
    return [headers["date"]] if headers.get("date") else []


def _of_identity(outcome: Outcome, seen: str) -> Diagnosis:
    return Diagnosis("identity", outcome, Area.CREDENTIALS, seen)
