# SPDX-License-Identifier: Apache-2.0
"""moto, mended where it answers wrongly; the only module that imports it.

It must not know what AWS refuses: it answers each request, and shows the rules what it holds.
"""

from __future__ import annotations

import io
import json
import sys
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.iam.access_control import PermissionResult
from moto.kms import models as kms_models
from moto.kms import utils as kms_utils
from moto.kms.responses import KmsResponse
from moto.moto_server.werkzeug_app import create_backend_app
from moto.s3.exceptions import AccessDeniedByLock
from moto.s3.models import FakeDeleteMarker, s3_backends

from . import HOST
from .wire import Refusal, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Mapping


class Moto:
    """moto's application, and a look into its tables."""

    def __init__(self) -> None:
        _mend()
        self.account = str(DEFAULT_ACCOUNT_ID)
        # moto's own dispatcher would look through its folder of services at every request.
        self._applications: dict[str, Any] = {
            name: create_backend_app(name) for name in ("s3", "kms")
        }
        self._kms = kms_models.kms_backends[self.account]
        self._s3 = s3_backends[self.account]["aws"]

    def __call__(self, request: Request) -> Reply:
        """Let moto answer."""
        head: list[Any] = []
        application = self._applications[request.service]
        chunks = application(self._environ(request), lambda *said: head.extend(said))
        try:
            body = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        return Reply(int(head[0].split()[0]), tuple(head[1]), body)

    def reset(self) -> None:
        """Forget every bucket and key, in every region."""
        for backends in (s3_backends, kms_models.kms_backends):
            for account in backends.values():
                account.reset()

    def bucket(self, name: str) -> Any | None:
        """Return moto's bucket."""
        return self._s3.buckets.get(name)

    def object(self, bucket: str, key: str, version: str | None = None) -> Any | None:
        """Return moto's object version; None if there is none or it is a delete marker."""
        if self.bucket(bucket) is None:
            return None
        return self._s3.get_object(bucket, key, version_id=version)

    def marker(self, bucket: str, key: str, version: str | None = None) -> str | None:
        """Return the version id of a delete marker: `version`, or what is on top of the object."""
        if self.bucket(bucket) is None:
            return None
        held = self._s3.buckets[bucket].keys.getlist(key) or []
        asked = held[-1:] if version is None else [one for one in held if one.version_id == version]
        return next((str(one.version_id) for one in asked if type(one) is FakeDeleteMarker), None)

    def denies(self, bucket: str, key: str, action: str) -> bool:
        """Return whether the bucket's policy denies an action on an object."""
        found: Any = self.bucket(bucket)
        permission = found.get_permission(action, f"arn:aws:s3:::{bucket}/{key}")
        return bool(permission == PermissionResult.DENIED)

    def delete(self, bucket: str, key: str, version: str | None, *, bypass: bool) -> str | None:
        """Delete moto's object, or a version; return the delete marker that was made or removed.

        Raises:
            Refusal: A lock of moto's is on the version.
        """
        is_marker = version is not None and self.marker(bucket, key, version) is not None
        try:
            _, said = self._s3.delete_object(bucket, key, version_id=version, bypass=bypass)
        except AccessDeniedByLock:
            message = "Access Denied because object protected by object lock."
            raise Refusal(403, "AccessDenied", message) from None
        if version:
            return version if is_marker else None
        return said.get("version-id")

    def upload(self, bucket: str, upload_id: str) -> Any | None:
        """Return moto's multipart upload, until it is completed or aborted."""
        found = self.bucket(bucket)
        return None if found is None else found.multiparts.get(upload_id)

    def key(self, reference: str, region: str) -> Any | None:
        """Return moto's KMS key for an id, an ARN of this region and account, or an alias."""
        if reference.startswith("arn:"):
            _, _, _, where, account, reference = reference.split(":", 5)
            if (where, account) != (region, self.account):
                return None
            reference = reference.removeprefix("key/")
        backend = self._kms[region]
        if reference.startswith("alias/"):
            reference = backend.get_key_id_from_alias(reference) or ""
        found = backend.keys.get(reference)
        if found is not None and any(name.startswith("alias/aws/") for name in found.aliases):
            found.key_manager = "AWS"
        if found is not None and found.multi_region:
            _name_replica(found)
        return found

    def _environ(self, request: Request) -> dict[str, Any]:
        uri = f"{request.raw_path}?{request.raw_query}".removesuffix("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(request.raw_path, "latin-1"),
            "QUERY_STRING": request.raw_query,
            "RAW_URI": uri,
            "REQUEST_URI": uri,
            "SERVER_NAME": HOST,
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        environ.update((_wsgi_name(name), value) for name, value in request.headers.items())
        environ["CONTENT_LENGTH"] = str(len(request.body))
        # moto keeps the underscores of metadata names, which WSGI would turn into dashes.
        environ["moto.preserved_header_names"] = {
            _wsgi_name(name): request.spelling.get(name, name)
            for name in request.headers
            if "_" in name and name.startswith("x-amz-meta-")
        }
        return environ


def _mend() -> None:
    # moto's multi-Region ids are longer than AWS's, and than the room its blobs have for them.
    mended: Any = kms_models
    mended.generate_key_id = _new_key_id
    # It writes pairs one after the other, so that {"ab": "c"} would open {"a": "bc"}.
    mended = kms_utils
    mended._serialize_encryption_context = _context_bytes  # noqa: SLF001
    # It would refuse our shorter ids; the KMS rules resolve every reference before moto sees it.
    mended = KmsResponse
    mended._validate_cmk_id = lambda *_: None  # noqa: SLF001


def _name_replica(key: Any) -> None:
    # In moto a replica shares the description of its primary, which then says REPLICA as well.
    shared = key.multi_region_configuration
    if key.arn != shared["PrimaryKey"]["Arn"] and shared["MultiRegionKeyType"] == "PRIMARY":
        key.multi_region_configuration = {**shared, "MultiRegionKeyType": "REPLICA"}


def _context_bytes(encryption_context: Mapping[str, str]) -> bytes:
    return json.dumps(sorted(encryption_context.items())).encode("utf-8")


def _new_key_id(multi_region: bool = False) -> str:
    return f"mrk-{uuid.uuid4().hex}" if multi_region else str(uuid.uuid4())


def _wsgi_name(header: str) -> str:
    name = header.upper().replace("-", "_")
    return name if name in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{name}"
