# SPDX-License-Identifier: Apache-2.0
"""Access Analyzer's operation ValidatePolicy, limited to the form of a document.

It reports documents that are not valid policies. AWS's other checks are not implemented.
"""

from __future__ import annotations

import json
from typing import Any

from .policies import form_fault
from .wire import Refusal, Reply, Request, json_refusal, json_reply

_TYPES = {
    "IDENTITY_POLICY": (True, False),
    "RESOURCE_CONTROL_POLICY": (True, True),
    "RESOURCE_POLICY": (True, True),
    "SERVICE_CONTROL_POLICY": (True, False),
}
_START = {"line": 1, "column": 0, "offset": 0}
_MORE = (
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/access-analyzer-reference-policy-checks.html"
)


class AccessAnalyzer:
    """The only operation of Access Analyzer that the sandbox implements."""

    def __call__(self, request: Request) -> Reply:
        """Return the findings about a policy.

        Raises:
            Refusal: The request is not ValidatePolicy, or its policy type is unknown.
        """
        if (request.method, request.raw_path) != ("POST", "/policy/validation"):
            raise Refusal(501, "NotImplemented", "The sandbox answers ValidatePolicy only.")
        asked = json.loads(request.body or b"{}")
        kind = asked.get("policyType")
        if kind not in _TYPES:
            raise Refusal(400, "ValidationException", f"Unknown policyType: {kind}")
        return json_reply(200, {"findings": _findings(asked, *_TYPES[kind])})

    def refused(self, request: Request, refusal: Refusal) -> Reply:
        """Return Access Analyzer's reply to a request that it refuses."""
        return json_refusal(request, refusal)


def _findings(asked: dict[str, Any], resources: bool, principals: bool) -> list[dict[str, Any]]:
    text = str(asked.get("policyDocument", ""))
    is_trust = asked.get("validatePolicyResourceType") == "AWS::IAM::AssumeRolePolicyDocument"
    try:
        document = json.loads(text)
    except ValueError as error:
        fault, code = f"Fix the JSON syntax error: {error}", "JSON_SYNTAX_ERROR"
    else:
        found = form_fault(document, resources=resources and not is_trust, principals=principals)
        if found is None:
            return []
        fault, code = found, "INVALID_POLICY"
    end = {"line": text.count("\n") + 1, "column": 0, "offset": len(text)}
    return [
        {
            "findingDetails": fault,
            "findingType": "ERROR",
            "issueCode": code,
            "learnMoreLink": _MORE,
            "locations": [{"path": [], "span": {"start": _START, "end": end}}],
        }
    ]
