# SPDX-License-Identifier: Apache-2.0
"""Find the caller of a session's requests: a role, a user or the root user of an account.

For an assumed role, STS returns the ARN of the session. It contains the name of the role, but not
its path, while policies name the role with its path. The path is therefore requested from IAM. If
IAM refuses, the path is unknown, and `Identity.has_known_path` is False.
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
    """The caller of a session's requests.

    Attributes:
        caller: The caller as policies name it. For an assumed role, this is the ARN of the role and
            not of the session.
        arn: The ARN that STS reports. For an assumed role, this is the ARN of the session.
        has_known_path: Whether the path of a role is known. If False, the ARN in `caller` has no
            path, which is right only if the role was made without a path.
    """

    caller: Caller
    arn: str
    has_known_path: bool = True


def identify(sts: "Clients[STSClient]", iam: "Clients[IAMClient]") -> Identity:
    """Return the caller of the requests that these clients send.

    `sts:GetCallerIdentity` needs no permission. `iam:GetRole` is only requested for an assumed
    role.

    Raises:
        ConfigError: There are no credentials.
        StorageError: STS refused, could not be reached, or named an identity in an unknown form.
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
    """Return the ARN of a role with its path. Return None if IAM refuses or cannot be reached."""
    try:
        # The request is not retried: a private network may have no route to IAM, which has no
        # Regional endpoints.
        reply = call(iam.get(), "get_role", {"RoleName": name}, f"role {name}", is_look=True)
    except StorageError:
        return None
    return str(reply["Role"]["Arn"])
