# SPDX-License-Identifier: Apache-2.0
"""STS's rules: the identity of the caller, and the refusal to assume a role that does not exist.

This module must not read a role's trust policy: the sandbox does not evaluate policies of roles.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from .query import error_reply, invalid, result_reply
from .wire import Refusal, Reply, Request

if TYPE_CHECKING:
    from .backend import Moto

_SECONDS = range(900, 43_201)
_SESSION_NAME = r"[\w+=,.@-]{2,64}"


class STS:
    """The STS rules, applied one request at a time."""

    def __init__(self, moto: Moto) -> None:
        self._moto = moto
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        """Return the reply of a rule or of moto. Raise `Refusal` if STS refuses such a request."""
        with self._lock:
            if request.operation == "AssumeRole":
                self._check_assuming(request)
            elif request.operation == "GetCallerIdentity":
                return self._identity(request)
            return self._moto(request)

    def refused(self, request: Request, refusal: Refusal) -> Reply:
        """Return STS's reply to a request that it refuses."""
        return error_reply(request, refusal)

    def _identity(self, request: Request) -> Reply:
        arn = self._moto.caller(request)
        if arn.endswith(":user/sandbox"):
            result = {"Arn": arn, "UserId": "AIDASANDBOXEXAMPLE00", "Account": self._moto.account}
            return result_reply(request, result)
        return self._moto(request)

    def _check_assuming(self, request: Request) -> None:
        asked = request.form
        session, arn = asked.get("RoleSessionName", ""), asked.get("RoleArn", "")
        if re.fullmatch(_SESSION_NAME, session, re.ASCII) is None:
            raise invalid(
                f"Value '{session}' at 'roleSessionName' failed to satisfy constraint: Member "
                f"must satisfy regular expression pattern: {_SESSION_NAME}"
            )
        role = self._moto.role(arn.rpartition("/")[2])
        if role is None or role.arn != arn:
            raise Refusal(
                403,
                "AccessDenied",
                f"User: {self._moto.caller(request)} is not authorized to perform: "
                f"sts:AssumeRole on resource: {arn}",
            )
        seconds = int(asked.get("DurationSeconds", "3600"))
        if seconds not in _SECONDS or seconds > int(role.max_session_duration or 3600):
            raise Refusal(
                400,
                "ValidationError",
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            )
