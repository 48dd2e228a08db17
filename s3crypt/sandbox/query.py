# SPDX-License-Identifier: Apache-2.0
"""The query protocol of IAM and STS: the XML of a reply and of a refusal.

This module must not know operations. `Request.form` has the parameters of a request.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from .wire import Refusal, Reply, Request, xml_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMESPACES = {
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
}


def result_reply(request: Request, result: Mapping[str, str]) -> Reply:
    """Return the reply of a successful operation. `result` maps element names to their texts."""
    operation, namespace = request.operation, _NAMESPACES[request.service]
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in result.items())
    return xml_reply(
        200,
        f'<{operation}Response xmlns="{namespace}"><{operation}Result>{inner}</{operation}Result>'
        f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata>"
        f"</{operation}Response>",
    )


def error_reply(request: Request, refusal: Refusal) -> Reply:
    """Return the reply with which a service of this protocol refuses a request."""
    parts = {"Type": "Sender", "Code": refusal.code, "Message": refusal.message}
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in parts.items())
    identity = str(uuid.uuid4())
    content = f"<Error>{inner}</Error><RequestId>{identity}</RequestId>"
    return xml_reply(
        refusal.status,
        f'<ErrorResponse xmlns="{_NAMESPACES[request.service]}">{content}</ErrorResponse>',
        (("x-amzn-RequestId", identity),),
    )


def invalid(message: str) -> Refusal:
    """Return the refusal of a request with a parameter that the API model does not allow."""
    return Refusal(400, "ValidationError", f"1 validation error detected: {message}")
