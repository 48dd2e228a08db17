# SPDX-License-Identifier: Apache-2.0
"""S3 Control, limited to the public access block of the account.

The block is stored in `Moto`, and `s3.bucket_access` enforces it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .s3.bucket_access import FLAGS
from .s3.bucket_documents import malformed, parsed
from .s3.refusals import access_denied, error_reply
from .wire import Refusal, Reply, Request, xml_reply

if TYPE_CHECKING:
    from .backend import Moto

_PATH = "/v20180820/configuration/publicAccessBlock"
_ROOT = "PublicAccessBlockConfiguration"


class S3Control:
    """The operations of S3 Control that the sandbox implements."""

    def __init__(self, moto: Moto) -> None:
        self._moto = moto

    def __call__(self, request: Request) -> Reply:
        """Put, get or delete the account's public access block.

        Raises:
            Refusal: The request is for another operation or another account.
        """
        if request.raw_path != _PATH:
            raise Refusal(501, "NotImplemented", "The sandbox answers PublicAccessBlock only.")
        if request.headers["x-amz-account-id"] != self._moto.account:
            raise access_denied()
        match request.method:
            case "PUT":
                self._moto.account_block = _flags(request)
                return Reply(200)
            case "DELETE":
                self._moto.account_block = None
                return Reply(204)
            case _:
                return self._document()

    def refused(self, request: Request, refusal: Refusal) -> Reply:
        """Return S3 Control's reply to a request that it refuses."""
        return error_reply(request, refusal)

    def _document(self) -> Reply:
        block = self._moto.account_block
        if block is None:
            raise Refusal(
                404,
                "NoSuchPublicAccessBlockConfiguration",
                "The public access block configuration was not found",
            )
        inner = "".join(f"<{flag}>{str(flag in block).lower()}</{flag}>" for flag in FLAGS)
        return xml_reply(200, f"<{_ROOT}>{inner}</{_ROOT}>")


def _flags(request: Request) -> frozenset[str]:
    """Return the flags that a request turns on. Flags that the request does not name are off."""
    document = parsed(request.body, _ROOT)
    texts = {child.tag: (child.text or "").strip() for child in document}
    if set(texts) - set(FLAGS) or set(texts.values()) - {"true", "false"}:
        raise malformed()
    return frozenset(flag for flag, text in texts.items() if text == "true")
