# SPDX-License-Identifier: Apache-2.0
"""moto, with patches for wrong replies. No other module imports moto.

This module must not know which requests AWS refuses: it passes every request to moto, and lets the
rules read moto's tables.
"""

from __future__ import annotations

import io
import json
import sys
import threading
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.serialize import url_encode
from moto.iam import models as iam_models
from moto.iam.access_control import PermissionResult
from moto.iam.responses import IamResponse
from moto.kms import models as kms_models
from moto.kms import utils as kms_utils
from moto.kms.responses import KmsResponse
from moto.moto_server.utilities import RegexConverter
from moto.moto_server.werkzeug_app import create_backend_app
from moto.s3.exceptions import AccessDeniedByLock
from moto.s3.models import OWNER, FakeBucket, FakeDeleteMarker, s3_backends
from moto.sts.models import sts_backends

from . import HOST, ROOT_ACCESS_KEY
from .clock import Clock
from .key_uses import KeyUses
from .policies import denies_everybody, statements_of
from .wire import Refusal, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .kms.materials import Rotated
    from .tables import TableBucket

# The account that shares KMS keys with the sandbox's own account.
OTHER_ACCOUNT = "111122223333"


class Moto:
    """moto's application, and access to its tables."""

    def __init__(self) -> None:
        _mend()
        self.account = str(DEFAULT_ACCOUNT_ID)
        # The flags of the account's public access block; None if it has no block.
        self.account_block: frozenset[str] | None = None
        # The application of each service is kept: moto's own dispatcher would search its folder of
        # services on every request.
        self._applications: dict[str, Any] = {name: _CREATE(name) for name in ("s3", "kms")}
        self._guard = threading.Lock()
        # ARN of a bucket -> the table bucket, the vector bucket, or the indexes of the vector
        # bucket.
        self.table_buckets: dict[str, TableBucket] = {}
        self.vector_buckets: dict[str, dict[str, Any]] = {}
        self.vector_indexes: dict[str, dict[str, dict[str, Any]]] = {}
        self.key_uses = KeyUses()
        self.clock = Clock()
        # Finished rotations of KMS keys that are not recorded yet, oldest first.
        self.rotated: deque[Rotated] = deque()
        self._kms = kms_models.kms_backends[self.account]
        self._s3 = s3_backends[self.account]["aws"]
        self._iam = iam_models.iam_backends[self.account]["aws"]
        self._sts = sts_backends[self.account]["aws"]

    def __call__(self, request: Request) -> Reply:
        """Return moto's reply."""
        head: list[Any] = []
        application = self._application(request.service)
        chunks = application(self._environ(request), lambda *said: head.extend(said))
        try:
            body = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        return Reply(int(head[0].split()[0]), tuple(head[1]), body)

    def reset(self) -> None:
        """Forget every bucket, key, role and trail, in every region, and set the clock back."""
        self.account_block = None
        for table in (self.table_buckets, self.vector_buckets, self.vector_indexes):
            table.clear()
        self.clock.reset()
        self.rotated.clear()
        # A service whose application was never created has no data.
        for name in self._applications:
            for account in _BACKENDS(name).values():
                account.reset()

    def bucket(self, name: str) -> Any | None:
        """Return moto's bucket of this name, or None if it does not exist."""
        return self._s3.buckets.get(name)

    def buckets(self) -> list[Any]:
        """Return all of moto's buckets."""
        return list(self._s3.buckets.values())

    def object(self, bucket: str, key: str, version: str | None = None) -> Any | None:
        """Return moto's object version, or None if it does not exist or is a delete marker."""
        if self.bucket(bucket) is None:
            return None
        return self._s3.get_object(bucket, key, version_id=version)

    def marker(self, bucket: str, key: str, version: str | None = None) -> str | None:
        """Return the id of a version if it is a delete marker, or None.

        `version` is by default the latest version.
        """
        if self.bucket(bucket) is None:
            return None
        held = self._s3.buckets[bucket].keys.getlist(key) or []
        asked = held[-1:] if version is None else [one for one in held if one.version_id == version]
        return next((str(one.version_id) for one in asked if self.is_marker(one)), None)

    def is_marker(self, version: Any) -> bool:
        """Return whether moto's object version is a delete marker."""
        return type(version) is FakeDeleteMarker

    def denies(self, bucket: str, key: str, action: str) -> bool:
        """Return whether the bucket's policy denies an action on an object."""
        found: Any = self.bucket(bucket)
        permission = found.get_permission(action, f"arn:aws:s3:::{bucket}/{key}")
        return bool(permission == PermissionResult.DENIED)

    def delete(self, bucket: str, key: str, version: str | None, *, bypass: bool) -> str | None:
        """Delete moto's object or version.

        Return the id of the delete marker made or removed, or None.

        Raises:
            Refusal: The version is locked in moto.
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

    def tags(self, thing: Any) -> frozenset[tuple[str, str]]:
        """Return the tags of moto's object version."""
        found = self._s3.tagger.get_tag_dict_for_resource(thing.arn)
        return frozenset(found.items())

    def grants_to_others(self, bucket: Any) -> bool:
        """Return whether the ACL of moto's bucket grants access to anyone but its owner."""
        grants = [] if bucket.acl is None else bucket.acl.grants
        return any(each.id != OWNER for grant in grants for each in grant.grantees)

    def replicate(self, thing: Any, bucket: str) -> Any:
        """Store a replica of moto's object version in another bucket, and return it.

        The replica has the source's version id, time, metadata, tags and retention, as in S3.
        """
        replica = self._s3.put_object(
            bucket,
            thing.name,
            thing.value,
            storage=thing.storage_class,
            etag=thing.etag.strip('"'),
            multipart=thing.multipart,
            lock_mode=thing.lock_mode,
            lock_legal_status=thing.lock_legal_status,
            lock_until=thing.lock_until,
            disable_notification=True,
        )
        replica._version_id = thing.version_id  # noqa: SLF001  moto makes another one
        replica.last_modified = thing.last_modified
        replica.set_metadata(dict(thing.metadata))
        self._s3.tagger.copy_tags(thing.arn, replica.arn)
        return replica

    def upload(self, bucket: str, upload_id: str) -> Any | None:
        """Return moto's multipart upload, or None if it was completed, aborted or never created."""
        found = self.bucket(bucket)
        return None if found is None else found.multiparts.get(upload_id)

    def key(self, reference: str, region: str) -> Any | None:
        """Return moto's KMS key for an id, an ARN or an alias, or None if there is no such key.

        An ARN must name a key of this Region, in this account or in the account that shares keys.
        Changes that are due, such as the deletion of the key, are made first.
        """
        self.clock.run()
        if reference.startswith("arn:"):
            arn = reference
            _, _, _, where, account, reference = reference.split(":", 5)
            if account == OTHER_ACCOUNT:
                return next((key for key in self.shared_keys(region) if key.arn == arn), None)
            if (where, account) != (region, self.account):
                return None
            reference = reference.removeprefix("key/")
        backend = self._kms[region]
        if reference.startswith("alias/"):
            reference = backend.get_key_id_from_alias(reference) or ""
        found = backend.keys.get(reference)
        if found is not None and any(name.startswith("alias/aws/") for name in found.aliases):
            found.key_manager = "AWS"
        return found

    def keys(self, region: str) -> list[Any]:
        """Return moto's KMS keys of a Region, oldest first."""
        self.clock.run()
        return list(self._kms[region].keys.values())

    def keys_of_set(self, identity: str) -> list[Any]:
        """Return the keys of a multi-Region set: moto's KMS keys with this id in all Regions."""
        tables = [backend.keys for backend in self._kms.values()]
        return [keys[identity] for keys in tables if identity in keys]

    def copy_key(self, key: Any, region: str) -> Any:
        """Make a replica of moto's KMS key in another Region.

        Both keys share all attribute values.
        """
        return self._kms[key.region].replicate_key(key.id, region)

    def delete_key(self, key: Any) -> None:
        """Delete moto's KMS key with its aliases and tags."""
        self._kms[key.region].delete_key(key.id)

    def share_key(self, region: str) -> Any:
        """Create a KMS key in another account that shares it with this account. Return the key."""
        accounts = [f"arn:aws:iam::{one}:root" for one in (OTHER_ACCOUNT, self.account)]
        statement = {"Effect": "Allow", "Principal": {"AWS": accounts}, "Action": "kms:*"}
        policy = {"Version": "2012-10-17", "Statement": [{**statement, "Resource": "*"}]}
        backend = kms_models.kms_backends[OTHER_ACCOUNT][region]
        return backend.create_key(
            json.dumps(policy), "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", "Shared", None
        )

    def shared_keys(self, region: str) -> list[Any]:
        """Return the KMS keys of a Region that another account shares with this account."""
        return list(kms_models.kms_backends[OTHER_ACCOUNT][region].keys.values())

    def tag_key(self, key: Any, region: str, tags: Mapping[str, str]) -> None:
        """Add tags to moto's KMS key."""
        self._kms[region].tag_resource(key.id, dict(tags))

    def session(self, access_key: str) -> Any | None:
        """Return moto's session of a role that has this access key, or None."""
        return self._sts.get_assumed_role_from_access_key(access_key)

    def user_of(self, access_key: str) -> Any | None:
        """Return moto's IAM user that has this access key, or None."""
        return self._iam.get_user_from_access_key_id(access_key)

    def caller(self, request: Request) -> str:
        """Return the ARN of the user, or of the role's session, whose access key signed a request.

        If the sandbox did not create the access key, return the ARN of a user named `sandbox`.
        """
        key = request.access_key
        if key == ROOT_ACCESS_KEY:
            return f"arn:aws:iam::{self.account}:root"
        found: Any = self.session(key) or self.user_of(key)
        return str(found.arn) if found else f"arn:aws:iam::{self.account}:user/sandbox"

    def caller_arns(self, request: Request) -> frozenset[str]:
        """Return the ARNs by which a policy may name the caller. A session has also its role's ARN.

        The result is empty for an unsigned request.
        """
        key = request.access_key
        if not key:
            return frozenset()
        session = self.session(key)
        arn = self.caller(request) if session is None else session.arn
        return frozenset({arn} if session is None else {arn, session.role_arn})

    def role(self, name: str) -> Any | None:
        """Return moto's IAM role or None. Like IAM, compare names without regard to case."""
        return _named(self._iam.roles.values(), name)

    def group(self, name: str) -> Any | None:
        """Return moto's IAM group of this name, or None."""
        return _named(self._iam.groups.values(), name)

    def groups(self) -> list[Any]:
        """Return all of moto's IAM groups."""
        return list(self._iam.groups.values())

    def user(self, name: str) -> Any | None:
        """Return moto's IAM user of this name, or None."""
        return _named(self._iam.users.values(), name)

    def managed_policy(self, arn: str) -> Any | None:
        """Return moto's managed policy, or None if it does not exist."""
        return self._iam.managed_policies.get(arn)

    def trail(self, name: str, region: str) -> Any | None:
        """Return moto's trail of this name or ARN whose home Region is `region`, or None."""
        held = _BACKENDS("cloudtrail")[self.account][region].trails.values()
        return next((trail for trail in held if name in {trail.trail_name, trail.arn}), None)

    def trails(self) -> list[Any]:
        """Return all of moto's trails, each of them once."""
        regions = _BACKENDS("cloudtrail")[self.account].values()
        return [trail for held in regions for trail in held.trails.values()]

    def has_principal(self, arn: str) -> bool:
        """Return whether a role or user of this account exists. Return True for any other ARN."""
        _, _, service, _, account, resource = arn.split(":", 5)
        if service != "iam" or account != self.account or resource == "root":
            return True
        things: tuple[Any, ...] = (*self._iam.roles.values(), *self._iam.users.values())
        return any(thing.arn == arn for thing in things)

    def _application(self, service: str) -> Any:
        """Return moto's application for a service, created on first use."""
        with self._guard:
            if service not in self._applications:
                self._applications[service] = _CREATE(service)
            return self._applications[service]

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
        # WSGI would turn the underscores in the names of metadata headers into dashes. moto reads
        # the original names from here.
        environ["moto.preserved_header_names"] = {
            _wsgi_name(name): request.spelling.get(name, name)
            for name in request.headers
            if "_" in name and name.startswith("x-amz-meta-")
        }
        return environ


_CONVERTER: Any = RegexConverter.__init__
_ATTACH: Any = iam_models.ManagedPolicy.attach_to
# Typed as Any, because moto accepts only one of two hundred literal names as an argument.
_BACKENDS: Any = get_backend
_CREATE: Any = create_backend_app


def _mend() -> None:
    # moto's multi-Region key ids are longer than AWS's, and too long for the field in moto's
    # ciphertexts.
    mended: Any = kms_models
    mended.generate_key_id = _new_key_id
    # moto joins the encryption context without separators, so a ciphertext for {"a": "bc"} could be
    # decrypted with {"ab": "c"}.
    mended = kms_utils
    mended._serialize_encryption_context = _context_bytes  # noqa: SLF001
    # moto would refuse these shorter ids. Its check is not needed: the KMS rules resolve every key
    # reference before moto gets the request.
    mended = KmsResponse
    mended._validate_cmk_id = lambda *_: None  # noqa: SLF001
    # moto would count a policy that is attached twice to a role as two attachments.
    mended = iam_models.ManagedPolicy
    mended.attach_to = _attach_once
    # moto URL-encodes all policy documents in replies except this document. Clients decode all of
    # them.
    mended = IamResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER
    mended["GetPolicyVersionResponse.PolicyVersion.Document"] = url_encode
    # moto finds no operation for an object whose name has a line break.
    mended = RegexConverter
    mended.__init__ = _of_any_characters
    # moto would treat every statement with a condition as a Deny, even if its effect is Allow.
    mended = FakeBucket
    mended.get_permission = _permission


def _of_any_characters(converter: Any, url_map: Any, pattern: str) -> None:
    _CONVERTER(converter, url_map, f"(?s:{pattern})")


def _permission(bucket: Any, action: str, resource: str) -> PermissionResult:
    statements = statements_of((bucket.policy or b"").decode("utf-8"))
    if any(denies_everybody(each, action, resource) for each in statements):
        return PermissionResult.DENIED
    return PermissionResult.NEUTRAL


def _attach_once(policy: Any, entity: Any) -> None:
    if policy.arn not in entity.managed_policies:
        _ATTACH(policy, entity)


def _named(things: Iterable[Any], name: str) -> Any | None:
    return next((thing for thing in things if thing.name.lower() == name.lower()), None)


def _context_bytes(encryption_context: Mapping[str, str]) -> bytes:
    return json.dumps(sorted(encryption_context.items())).encode("utf-8")


def _new_key_id(multi_region: bool = False) -> str:
    return f"mrk-{uuid.uuid4().hex}" if multi_region else str(uuid.uuid4())


def _wsgi_name(header: str) -> str:
    name = header.upper().replace("-", "_")
    return name if name in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{name}"
