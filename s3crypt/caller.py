# SPDX-License-Identifier: Apache-2.0
"""Who makes the requests of a session: a role, a user or the root user of an account.

STS names an assumed role by its session, whose ARN has the name of the role and not its path.
Policies name the role itself, path included. IAM is therefore asked for the role; where it refuses,
the path stays unknown, and `Identity.has_known_path` says so.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .errors import StorageError
from .policy import Caller
from .requests import call

if TYPE_CHECKING:
    from types_boto3_iam.client import IAMClient
    from types_boto3_sts.client import STSClient

    from .aws import Clients

_SUBJECT = "the identity of the caller"
_SESSION = re.compile(r"arn:([a-z-]+):sts::([0-9]{12}):assumed-role/([^/]+)/.+")
_USER = re.compile(r"arn:[a-z-]+:(iam::[0-9]{12}:user|sts::[0-9]{12}:federated-user)/.+")
_ROOT = re.compile(r"arn:[a-z-]+:iam::[0-9]{12}:root")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who makes the requests.

    Attributes:
        caller: The caller as policies name it: a role by its own ARN, not by its session's.
        arn: The ARN that STS reports, which is a session's for an assumed role.
        has_known_path: False for a role whose path could not be looked up. Its ARN in `caller` is
            then the one without a path, which is right unless the role was made with one.
    """

    caller: Caller
    arn: str
    has_known_path: bool = True


def identify(sts: "Clients[STSClient]", iam: "Clients[IAMClient]") -> Identity:
    """Return who makes the requests of these clients' session.

    `sts:GetCallerIdentity` needs no permission. `iam:GetRole` is asked for an assumed role alone.

    Raises:
        ConfigError: There are no credentials.
        StorageError: STS refused, could not be reached, or named an identity of an unknown form.
    """
    reply = call(sts.get(), "get_caller_identity", {}, _SUBJECT)
    arn, account = str(reply["Arn"]), str(reply["Account"])
    if session := _SESSION.fullmatch(arn):
        partition, _, name = session.groups()
        path_less = f"arn:{partition}:iam::{account}:role/{name}"
        known = _role_arn(iam, name)
        return Identity(Caller("role", known or path_less, account), arn, known is not None)
    return Identity(Caller(_kind(arn), arn, account), arn)


def _kind(arn: str) -> Literal["user", "root"]:
    if _ROOT.fullmatch(arn):
        return "root"
    if _USER.fullmatch(arn):
        return "user"
    raise StorageError(f"STS names the caller in an unknown form: {arn}.")


def _role_arn(iam: "Clients[IAMClient]", name: str) -> str | None:
    """Return the ARN of a role with its path, or None if IAM does not tell it."""
    try:
        # Asked once: a private network may have no way to IAM, which has no endpoint in a Region.
        reply = call(iam.get(), "get_role", {"RoleName": name}, f"role {name}", is_look=True)
    except StorageError:
        return None
    return str(reply["Role"]["Arn"])
