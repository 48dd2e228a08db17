# SPDX-License-Identifier: Apache-2.0
"""S3's rules: encryption as S3 does it, and the conditions and races that moto lets pass.

moto never sees encryption: a rule takes it from the request, keeps it beside moto's object, and
says it in the reply. It must not know KMS but for whether a key may be used, nor how a request
came here.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import re
import secrets
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

from . import bodies, extras
from .kms import check_key
from .wire import Refusal, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .backend import Moto

SSE = "x-amz-server-side-encryption"
SSE_C = f"{SSE}-customer-"
SOURCE_SSE_C = "x-amz-copy-source-server-side-encryption-customer-"
MANAGED = (SSE, f"{SSE}-aws-kms-key-id", f"{SSE}-context", f"{SSE}-bucket-key-enabled")
_CUSTOMER_PARTS = {
    "algorithm": "a valid encryption algorithm",
    "key": "an appropriate secret key",
    "key-md5": "the client calculated MD5 of the secret key",
}
_LOCKS = (
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
)
_KMS_ALGORITHMS = frozenset({"aws:kms", "aws:kms:dsse"})
_ALGORITHMS = _KMS_ALGORITHMS | {"AES256"}
# Of an object; all their operations are moto's.
_SUBRESOURCES = frozenset({"acl", "tagging", "legal-hold", "restore", "select", "torrent"})
_XML, _XML_HEAD = extras.XML, extras.XML_HEAD


@dataclass(frozen=True, slots=True)
class _Seal:
    """How S3 encrypts one object version, or an upload's object to be."""

    algorithm: str  # "AES256", "aws:kms", "aws:kms:dsse", or "SSE-C"
    key_arn: str | None = None
    bucket_key: bool = False
    context: str | None = None
    customer_md5: str | None = None

    def headers(self, *, context: bool = False) -> list[tuple[str, str]]:
        """Return what a reply says about it; the encryption context only where S3 repeats it."""
        if self.customer_md5 is not None:
            return [(f"{SSE_C}algorithm", "AES256"), (f"{SSE_C}key-md5", self.customer_md5)]
        said = [(SSE, self.algorithm)]
        if self.key_arn is not None:
            said.append((f"{SSE}-aws-kms-key-id", self.key_arn))
        if self.bucket_key:
            said.append((f"{SSE}-bucket-key-enabled", "true"))
        if context and self.context is not None:
            said.append((f"{SSE}-context", self.context))
        return said


@dataclass(frozen=True, slots=True)
class _BucketDefault:
    """A bucket's encryption setting; the key stays as given, S3 does not look it up here."""

    algorithm: str = "AES256"
    key: str | None = None
    bucket_key: bool = False
    blocked: tuple[str, ...] = ("SSE-C",)  # AWS's choice for new buckets since April 2026

    @classmethod
    def from_xml(cls, text: str) -> _BucketDefault:
        algorithm, key, bucket_key = (
            next(iter(_xml_texts(text, name)), None)
            for name in ("SSEAlgorithm", "KMSMasterKeyID", "BucketKeyEnabled")
        )
        if algorithm is not None and algorithm not in _ALGORITHMS:
            raise _invalid("The XML you provided was not well-formed", "MalformedXML")
        blocked = tuple(kind for kind in _xml_texts(text, "EncryptionType") if kind != "NONE")
        return cls(algorithm or "AES256", key, bucket_key == "true", blocked)

    def xml(self) -> str:
        key = f"<KMSMasterKeyID>{escape(self.key)}</KMSMasterKeyID>" if self.key else ""
        blocked = "".join(
            f"<EncryptionType>{kind}</EncryptionType>" for kind in self.blocked or ("NONE",)
        )
        return (
            '<ServerSideEncryptionConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            "<Rule><ApplyServerSideEncryptionByDefault>"
            f"<SSEAlgorithm>{self.algorithm}</SSEAlgorithm>{key}"
            "</ApplyServerSideEncryptionByDefault>"
            f"<BucketKeyEnabled>{str(self.bucket_key).lower()}</BucketKeyEnabled>"
            f"<BlockedEncryptionTypes>{blocked}</BlockedEncryptionTypes>"
            "</Rule></ServerSideEncryptionConfiguration>"
        )


@dataclass(frozen=True, slots=True)
class _Checksum:
    """What S3 keeps of an object's bytes, and tells whoever asks with x-amz-checksum-mode."""

    algorithm: str
    value: str
    kind: str = bodies.FULL_OBJECT

    @classmethod
    def of(cls, body: bytes, algorithm: str = bodies.DEFAULT_ALGORITHM) -> _Checksum:
        return cls(algorithm, bodies.checksum(algorithm, body))


@dataclass(frozen=True, slots=True)
class _New:
    """What moto does not know of a new object version."""

    seal: _Seal
    checksum: _Checksum
    hold: extras.Hold | None = None
    annotations: Mapping[str, extras.Annotation] = field(default_factory=dict)


def _checksum_of(found: Any) -> _Checksum:
    kept = getattr(found, "s3crypt_checksum", None)
    return kept if isinstance(kept, _Checksum) else _Checksum.of(found.value)


def _seal_of(thing: Any) -> _Seal:
    # Kept on moto's own object, so that it lives exactly as long as that object version.
    found = getattr(thing, "s3crypt_seal", None)
    return found if isinstance(found, _Seal) else _Seal("AES256")


def _default_of(bucket: Any) -> _BucketDefault:
    found = getattr(bucket, "s3crypt_default", None)
    return found if isinstance(found, _BucketDefault) else _BucketDefault()


def _invalid(message: str, code: str = "InvalidArgument") -> Refusal:
    return Refusal(400, code, message)


def _customer_md5(request: Request, prefix: str) -> str | None:
    """Return the MD5 of the SSE-C key a request carries, None if it carries none.

    Raises:
        Refusal: The three headers are incomplete, or do not fit each other.
    """
    given = {name: request.headers.get(prefix + name) for name in _CUSTOMER_PARTS}
    if not any(given.values()):
        return None
    for name, what in _CUSTOMER_PARTS.items():
        if given[name] is None:
            raise _invalid(
                "Requests specifying Server Side Encryption with Customer provided keys must "
                f"provide {what}."
            )
    if given["algorithm"] != "AES256":
        raise _invalid(
            "The Encryption request you specified is not valid. Supported value: AES256.",
            "InvalidEncryptionAlgorithmError",
        )
    return _fitting_md5(str(given["key"]), str(given["key-md5"]))


def _fitting_md5(key_text: str, md5_text: str) -> str:
    try:
        key = base64.b64decode(key_text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 32:
        raise _invalid("The secret key was invalid for the specified algorithm.")
    digest = hashlib.md5(key, usedforsecurity=False).digest()
    if base64.b64encode(digest).decode("ascii") != md5_text:
        raise _invalid(
            "The calculated MD5 hash of the key did not match the hash that was provided."
        )
    return md5_text


def _customer_seal(request: Request, default: _BucketDefault) -> _Seal:
    # A bucket's block is looked at before the key.
    if "SSE-C" in default.blocked:
        raise Refusal(
            403,
            "AccessDenied",
            "User is not authorized to perform: s3:PutObject: server-side encryption with "
            "customer-provided keys (SSE-C) is blocked by the bucket's BlockedEncryptionTypes.",
        )
    if SSE in request.headers:
        raise _invalid(
            "Server Side Encryption with Customer provided key is incompatible with the "
            "encryption method specified"
        )
    return _Seal("SSE-C", customer_md5=_customer_md5(request, SSE_C))


def _check_managed(algorithm: str | None, key: str | None) -> None:
    if algorithm is not None and algorithm not in _ALGORITHMS:
        raise _invalid("The encryption method specified is not supported")
    if key is not None and algorithm not in _KMS_ALGORITHMS:
        raise _invalid(
            f"Server Side Encryption with AWS KMS managed key requires HTTP header {SSE} : aws:kms"
        )


def _check_opened(seal: _Seal, customer_md5: str | None) -> None:
    """Refuse to read an object unless exactly its SSE-C key was given, if it has one."""
    if seal.customer_md5 is None and customer_md5 is not None:
        raise _invalid(
            "The encryption parameters are not applicable to this object.", "InvalidRequest"
        )
    if seal.customer_md5 is not None and customer_md5 is None:
        raise _invalid(
            "The object was stored using a form of Server Side Encryption. "
            "The correct parameters must be provided to retrieve the object.",
            "InvalidRequest",
        )
    if seal.customer_md5 != customer_md5:
        raise Refusal(403, "AccessDenied", "Access Denied")


def _check_context(context: str | None, algorithm: str | None) -> None:
    if context is None:
        return
    try:
        pairs = json.loads(base64.b64decode(context, validate=True))
        fits = isinstance(pairs, dict) and all(isinstance(text, str) for text in pairs.values())
    except ValueError:
        fits = False
    if not fits or algorithm not in _KMS_ALGORITHMS:
        raise _invalid(
            f"The header '{SSE}-context' shall be Base64-encoded UTF-8 string holding JSON "
            "which represents a string-string map, on a request for SSE-KMS."
        )


class S3:
    """The S3 rules; the table at its end says which operation each is for."""

    def __init__(self, moto: Moto) -> None:
        self._moto = moto
        self._guard = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}

    def __call__(self, request: Request) -> Reply:
        """Answer, or let moto; raise Refusal for what S3 would refuse."""
        self._check_signed(request)
        self._check_region(request)
        self._check_owner(request)
        request = bodies.verified(request)
        rule = self._rule(request)
        if rule is None:
            return self._moto(request)
        with self._exclusive(request):
            return rule(self, request)

    def refused(self, request: Request, refusal: Refusal) -> Reply:
        """Say a refusal the way S3 does."""
        request_id = secrets.token_hex(8).upper()
        region = refusal.headers.get("x-amz-bucket-region")
        parts = {
            "Code": refusal.code,
            "Message": refusal.message,
            **({"Region": region} if region else {}),
            "Resource": unquote(request.raw_path),
            "RequestId": request_id,
        }
        inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in parts.items())
        return Reply(
            refusal.status,
            (*_XML, ("x-amz-request-id", request_id), *refusal.headers.items()),
            f"{_XML_HEAD}<Error>{inner}</Error>".encode(),
        )

    def _rule(self, request: Request) -> Callable[[S3, Request], Reply] | None:
        asked = request.query.keys()
        if not request.key:
            return S3._default if "encryption" in asked else None
        if beside := asked & self._SUBRESOURCE_RULES.keys():
            return self._SUBRESOURCE_RULES[beside.pop()]
        if asked & _SUBRESOURCES:
            return None
        part = next((name for name in ("uploads", "uploadId") if name in asked), "")
        if not part and request.method == "PUT" and "x-amz-copy-source" in request.headers:
            return S3._copy_object
        return self._OBJECT_RULES.get((request.method, part))

    @contextlib.contextmanager
    def _exclusive(self, request: Request) -> Iterator[None]:
        """Let nobody else touch the object, nor the copy's source, between a check and its act."""
        names = {(request.bucket, request.key)}
        if "x-amz-copy-source" in request.headers:
            names.add(_copy_source(request)[:2])
        with contextlib.ExitStack() as held:
            for name in sorted(names):  # in one order everywhere, or two copies could deadlock
                with self._guard:
                    lock = self._locks.setdefault(name, threading.Lock())
                held.enter_context(lock)
            yield

    def _check_signed(self, request: Request) -> None:
        # The older signature in a URL is what boto3 makes when it presigns with an endpoint given.
        signed = request.scope or "Signature" in request.query
        if not signed and request.method != "OPTIONS":
            raise Refusal(403, "AccessDenied", "Access Denied")

    def _check_region(self, request: Request) -> None:
        bucket = self._moto.bucket(request.bucket)
        if bucket is None or request.region == bucket.region_name or "location" in request.query:
            return
        raise Refusal(
            400,
            "AuthorizationHeaderMalformed",
            f"The authorization header is malformed; the region '{request.region}' is wrong; "
            f"expecting '{bucket.region_name}'",
            headers={"x-amz-bucket-region": bucket.region_name},
        )

    def _check_owner(self, request: Request) -> None:
        """Refuse a request that expects another account to own the bucket, or a copy's source."""
        names = {"x-amz-expected-bucket-owner": request.bucket}
        if "x-amz-copy-source" in request.headers:
            names["x-amz-source-expected-bucket-owner"] = _copy_source(request)[0]
        for header, name in names.items():
            expected, bucket = request.headers.get(header), self._moto.bucket(name)
            if expected and bucket is not None and expected != bucket.account_id:
                raise Refusal(403, "AccessDenied", "Access Denied")

    # Encryption asked for

    def _wanted(self, request: Request) -> _Seal:
        """Return how a request's object is to be encrypted, by its headers or its bucket."""
        default = _default_of(self._moto.bucket(request.bucket))
        if any(name.startswith(SSE_C) for name in request.headers):
            return _customer_seal(request, default)
        algorithm, key, context, bucket_key = (request.headers.get(name) for name in MANAGED)
        _check_managed(algorithm, key)
        if algorithm is None:
            algorithm, key = default.algorithm, default.key
        _check_context(context, algorithm)
        if algorithm == "AES256":
            return _Seal("AES256")
        wants_bucket_key = default.bucket_key if bucket_key is None else bucket_key == "true"
        return _Seal(
            algorithm,
            self._kms_key(key or "alias/aws/s3", request.region, "kms:GenerateDataKey").arn,
            wants_bucket_key and algorithm == "aws:kms",
            context,
        )

    def _kms_key(self, reference: str, region: str, action: str) -> Any:
        """Return a usable KMS key, refusing as S3 does: KMS's code after a `KMS.`."""
        key = self._moto.key(reference, region)
        if key is None:
            raise _invalid(f"Key '{reference}' does not exist", "KMS.NotFoundException")
        if key.key_spec != "SYMMETRIC_DEFAULT":
            raise _invalid(
                f"{key.arn} is not a symmetric key.", "KMS.UnsupportedOperationException"
            )
        try:
            check_key(key, action)
        except Refusal as refusal:
            if refusal.code == "AccessDeniedException":
                raise Refusal(403, "AccessDenied", refusal.message) from None
            raise _invalid(refusal.message, f"KMS.{refusal.code}") from None
        return key

    def _open(self, thing: Any, customer_md5: str | None) -> None:
        """Refuse unless an object's bytes may be read with what the request brought."""
        seal = _seal_of(thing)
        _check_opened(seal, customer_md5)
        self._check_decrypting(seal)

    def _check_decrypting(self, seal: _Seal) -> None:
        if seal.key_arn is not None:
            self._kms_key(seal.key_arn, seal.key_arn.split(":")[3], "kms:Decrypt")

    # Objects

    def _put_object(self, request: Request) -> Reply:
        if self._moto.bucket(request.bucket) is None:
            return self._moto(request)
        seal = self._wanted(request)
        hold = self._wanted_hold(request)
        self._check_preconditions(request)
        reply = self._moto(_bare(request))
        sent = bodies.checksum_of(request)
        kept = _Checksum(*sent) if sent else _Checksum.of(request.body)
        return self._sealed(request, reply, _New(seal, kept, hold), context=True)

    def _copy_object(self, request: Request) -> Reply:
        source = self._moto.object(*_copy_source(request))
        if source is None or self._moto.bucket(request.bucket) is None:
            return self._moto(request)
        self._check_source(request, source)
        seal = self._wanted(request)
        hold = self._wanted_hold(request)
        annotations = _copied_annotations(request, source, seal)
        self._check_preconditions(request)
        # moto never sees encryption; but that it changes is a reason to copy onto itself.
        changes = replace(seal, context=None) != replace(_seal_of(source), context=None)
        asked = any(name.startswith(SSE) for name in request.headers)
        extra = {SSE: "AES256"} if changes or asked else {}
        wanted = request.headers.get(f"{bodies.PREFIX}algorithm")
        # Before moto replaces the source, where that is the target as well.
        kept = _Checksum.of(source.value, wanted or _checksum_of(source).algorithm)
        reply = self._moto(_bare(request, extra))
        return self._sealed(request, reply, _New(seal, kept, hold, annotations), context=True)

    def _wanted_hold(self, request: Request) -> extras.Hold | None:
        """Return the event hold asked for, which only a bucket with Object Lock can give."""
        hold = extras.Hold.of_headers(request.headers)
        if hold is not None:
            self._check_lockable(request)
        return hold

    def _check_lockable(self, request: Request) -> None:
        bucket = self._moto.bucket(request.bucket)
        if bucket is not None and not bucket.object_lock_enabled:
            raise _invalid("Bucket is missing Object Lock Configuration", "InvalidRequest")

    def _check_source(self, request: Request, source: Any) -> None:
        wanted = request.headers.get("x-amz-copy-source-if-match")
        if wanted is not None and not _same_etag(wanted, source):
            raise _precondition("x-amz-copy-source-If-Match")
        self._open(source, _customer_md5(request, SOURCE_SSE_C))

    def _check_preconditions(self, request: Request) -> None:
        present = self._moto.object(request.bucket, request.key)
        if request.headers.get("if-none-match") == "*" and present is not None:
            raise _precondition("If-None-Match")
        wanted = request.headers.get("if-match")
        if wanted is None:
            return
        if present is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        if not _same_etag(wanted, present):
            raise _precondition("If-Match")

    def _sealed(
        self,
        request: Request,
        reply: Reply,
        new: _New,
        *,
        context: bool = False,
    ) -> Reply:
        """Remember what moto does not know of the new object; say its encryption in the reply."""
        if reply.status != 200:
            return reply
        written = self._moto.object(request.bucket, request.key)
        assert written is not None
        written.s3crypt_seal = new.seal
        written.s3crypt_checksum = new.checksum
        written.s3crypt_hold = new.hold
        written.s3crypt_annotations = dict(new.annotations)
        return _saying(reply, new.seal, context=context)

    def _read_object(self, request: Request) -> Reply:
        if any(name in request.headers for name in MANAGED):
            raise _invalid(f"{SSE} header is not supported for this operation.")
        customer_md5 = _customer_md5(request, SSE_C)
        found = self._moto.object(request.bucket, request.key, request.query.get("versionId"))
        if found is None:
            return self._moto(request)
        if request.method == "HEAD":
            # Metadata is not under the KMS key, so a disabled one does not hide it.
            _check_opened(_seal_of(found), customer_md5)
        else:
            self._open(found, customer_md5)
        reply = _saying(self._moto(request), _seal_of(found))
        hold = extras.hold_of(found)
        if hold is not None and reply.status < 300:
            reply = replace(reply, headers=(*reply.headers, *hold.headers()))
        return _saying_checksum(request, reply, _checksum_of(found))

    def _delete_object(self, request: Request) -> Reply:
        # moto checks If-Match itself; what it lacks is the lock that this rule holds.
        version = request.query.get("versionId")
        hold = version and extras.hold_of(self._moto.object(request.bucket, request.key, version))
        if hold and hold.status == "ON":
            raise Refusal(
                403, "AccessDenied", "Access Denied because object protected by object lock."
            )
        return self._moto(request)

    # What is kept beside an object version

    def _existing(self, request: Request) -> Any:
        version = request.query.get("versionId")
        found = self._moto.object(request.bucket, request.key, version)
        if found is None:
            kind = "version" if version else "key"
            raise Refusal(404, f"NoSuch{kind.title()}", f"The specified {kind} does not exist.")
        return found

    def _annotation(self, request: Request) -> Reply:
        """Put, get, list or delete annotations of an object version."""
        if self._moto.bucket(request.bucket) is None:
            raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist.")
        found = self._existing(request)
        annotations = extras.annotations_of(found)
        wanted = request.headers.get("x-amz-object-if-match")
        if wanted is not None and not _same_etag(wanted, found):
            raise _precondition("x-amz-object-if-match")
        match request.method, "annotationName" in request.query:
            case "PUT", _:
                if _seal_of(found).customer_md5 is not None:
                    raise _ssec_annotation()
                reply = extras.put_annotation(request, annotations)
            case "DELETE", _:
                reply = extras.delete_annotation(request, annotations)
            case "GET", True:
                self._open(found, None)
                reply = extras.get_annotation(request, annotations)
            case _:
                reply = extras.list_annotations(request, annotations)
        said = ("x-amz-object-version-id", str(found.version_id))
        return replace(reply, headers=(*reply.headers, said))

    def _retention(self, request: Request) -> Reply:
        """Change or tell an object version's retention and event hold; each may be there alone."""
        self._check_lockable(request)
        found = self._existing(request)
        if request.method != "PUT":
            return _retention_of(found)
        text = request.body.decode("utf-8")
        hold = extras.Hold.of_xml(text)
        if hold is not None:
            found.s3crypt_hold = hold
        if hold is not None and not _xml_texts(text, "Mode"):
            return Reply(200)
        return self._moto(request)

    # Multipart uploads

    def _create_upload(self, request: Request) -> Reply:
        if self._moto.bucket(request.bucket) is None:
            return self._moto(request)
        seal = self._wanted(request)
        hold = self._wanted_hold(request)
        reply = self._moto(_bare(request))
        identity = re.search(rb"<UploadId>([^<]+)<", reply.body)
        if identity is None:
            return reply
        upload = self._moto.upload(request.bucket, identity[1].decode("ascii"))
        assert upload is not None
        upload.s3crypt_seal = seal
        upload.s3crypt_hold = hold
        # moto has locks of whole objects only.
        upload.s3crypt_lock = tuple(request.headers.get(name) for name in _LOCKS)
        return _saying(reply, seal, context=True)

    def _upload_part(self, request: Request) -> Reply:
        seal = self._open_upload(request, key_required=True)
        self._check_decrypting(seal)
        _check_part(request, self._moto.upload(request.bucket, request.query["uploadId"]))
        if "x-amz-copy-source" in request.headers:
            source = self._moto.object(*_copy_source(request))
            if source is None:
                raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
            self._check_source(request, source)
        return _saying(self._moto(_bare(request)), seal)

    def _complete_upload(self, request: Request) -> Reply:
        present = self._moto.object(request.bucket, request.key)
        made_by = getattr(present, "multipart", None)
        if made_by is not None and made_by.id == request.query["uploadId"]:
            return _saying(self._moto(_bare(request)), _seal_of(present))
        seal = self._open_upload(request, key_required=False)
        self._check_preconditions(request)
        upload: Any = self._moto.upload(request.bucket, request.query["uploadId"])
        new = _New(seal, _check_whole(request, upload), extras.hold_of(upload))
        reply = self._sealed(request, self._moto(_bare(request)), new)
        if reply.status == 200 and any(upload.s3crypt_lock):
            written: Any = self._moto.object(request.bucket, request.key)
            written.lock_mode, written.lock_until, written.lock_legal_status = upload.s3crypt_lock
        # S3 repeats a customer key's headers for every operation but this one.
        kept = [pair for pair in reply.headers if not pair[0].lower().startswith(SSE_C)]
        return replace(reply, headers=tuple(kept))

    def _open_upload(self, request: Request, *, key_required: bool) -> _Seal:
        """Refuse unless the request's SSE-C key is the one its upload began with."""
        upload = self._moto.upload(request.bucket, request.query["uploadId"])
        if upload is None or upload.key_name != request.key:
            raise Refusal(
                404,
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, or the "
                "upload may have been aborted or completed.",
            )
        seal = _seal_of(upload)
        given = _customer_md5(request, SSE_C)
        if given is None and not key_required:
            return seal
        if given is None and seal.customer_md5 is not None:
            raise _invalid(
                "The multipart upload initiate requested encryption. Subsequent part requests "
                "must include the appropriate encryption parameters.",
                "InvalidRequest",
            )
        if given != seal.customer_md5:
            raise _invalid(
                "The provided encryption parameters did not match the ones used originally.",
                "InvalidRequest",
            )
        return seal

    # Settings and refusals

    def _default(self, request: Request) -> Reply:
        """Set, tell or forget a bucket's encryption."""
        bucket = self._moto.bucket(request.bucket)
        if bucket is None:
            return self._moto(request)
        match request.method:
            case "PUT":
                bucket.s3crypt_default = _BucketDefault.from_xml(request.body.decode("utf-8"))
                return Reply(200)
            case "GET":
                return Reply(200, _XML, f"{_XML_HEAD}{_default_of(bucket).xml()}".encode())
            case "DELETE":
                bucket.s3crypt_default = _BucketDefault(blocked=_default_of(bucket).blocked)
                return Reply(204)
            case _:
                return self._moto(request)

    def _not_implemented(self, request: Request) -> Reply:
        # moto takes these for a PUT of the object itself and overwrites its body.
        raise Refusal(
            501,
            "NotImplemented",
            f"The sandbox does not implement ?{request.raw_query.partition('&')[0]} on objects.",
        )

    # Query parameter of operations on what is kept beside an object -> their rule.
    _SUBRESOURCE_RULES: ClassVar[dict[str, Callable[[S3, Request], Reply]]] = {
        "annotation": _annotation,
        "encryption": _not_implemented,
        "retention": _retention,
    }
    # Method and query parameter of an operation on an object -> its rule; any other is moto's.
    _OBJECT_RULES: ClassVar[dict[tuple[str, str], Callable[[S3, Request], Reply]]] = {
        ("PUT", ""): _put_object,
        ("GET", ""): _read_object,
        ("HEAD", ""): _read_object,
        ("DELETE", ""): _delete_object,
        ("POST", "uploads"): _create_upload,
        ("PUT", "uploadId"): _upload_part,
        ("POST", "uploadId"): _complete_upload,
    }


def _settings_of(upload: Any) -> tuple[str | None, str]:
    """Return the checksum algorithm that an upload was begun with, if any, and its type."""
    algorithm = upload.metadata.get(f"{bodies.PREFIX}algorithm")
    usual = bodies.COMPOSITE
    if algorithm in {None, bodies.DEFAULT_ALGORITHM}:
        usual = bodies.FULL_OBJECT
    return algorithm, str(upload.metadata.get(f"{bodies.PREFIX}type") or usual)


def _check_part(request: Request, upload: Any) -> None:
    """Refuse a part whose checksum is of another algorithm than its upload's."""
    expected, _ = _settings_of(upload)
    sent = bodies.checksum_of(request)
    if expected is not None and sent is not None and sent[0] != expected:
        raise _invalid(
            f"Checksum Type mismatch occurred, expected checksum Type: {expected.lower()}, "
            f"actual checksum Type: {sent[0].lower()}",
            "InvalidRequest",
        )


def _check_whole(request: Request, upload: Any) -> _Checksum:
    """Return the checksum of the object that an upload is to become, if what was said of it fits.

    Of parts that are not there, or have another ETag, moto tells.
    """
    expected, kind = _settings_of(upload)
    algorithm = expected or bodies.DEFAULT_ALGORITHM
    if request.headers.get(f"{bodies.PREFIX}type", kind) != kind:
        raise _invalid(
            f"The upload was created using the {kind} checksum mode. The complete request must "
            "use the same checksum mode.",
            "InvalidRequest",
        )
    listed = re.findall(r"<Part>.*?</Part>", request.body.decode("utf-8"), re.DOTALL)
    parts = [part for text in listed if (part := _check_listed(text, algorithm, upload))]
    whole = _Checksum(algorithm, bodies.checksum_of_parts(algorithm, kind, parts), kind)
    _check_said(request, whole, sum(map(len, parts)))
    return whole


def _check_listed(text: str, algorithm: str, upload: Any) -> bytes | None:
    """Return a part's bytes, unless its checksum in the list of parts is another one."""
    part = upload.parts.get(int(_xml_texts(text, "PartNumber")[0]))
    if part is None:
        return None
    value: bytes = part.value
    for said in _xml_texts(text, f"Checksum{algorithm}"):
        if said != bodies.checksum(algorithm, value):
            raise _invalid(
                "One or more of the specified parts could not be found. The part may not have "
                "been uploaded, or the specified entity tag may not match the part's entity tag.",
                "InvalidPart",
            )
    return value


def _check_said(request: Request, whole: _Checksum, size: int) -> None:
    sent = bodies.checksum_of(request)
    if sent is not None and sent[0] != whole.algorithm:
        raise _invalid(
            f"The upload was created using a {whole.algorithm.lower()} checksum. The complete "
            "request must use the same algorithm.",
            "InvalidRequest",
        )
    # Of a composite one the number of parts may be left out.
    if sent is not None and sent[1] not in {whole.value, whole.value.partition("-")[0]}:
        raise bodies.mismatch(sent[0])
    if request.headers.get("x-amz-mp-object-size", str(size)) != str(size):
        raise _invalid(
            "The provided 'x-amz-mp-object-size' header does not match what was computed.",
            "InvalidRequest",
        )


def _copied_annotations(
    request: Request, source: Any, seal: _Seal
) -> Mapping[str, extras.Annotation]:
    """Return the annotations that a copy has: the source's, unless they are to be left out."""
    directive = request.headers.get(extras.DIRECTIVE, "COPY")
    if directive not in {"COPY", "EXCLUDE"}:
        raise _invalid("Unknown annotation directive.")
    found = extras.annotations_of(source)
    if directive == "EXCLUDE" or not found:
        return {}
    if seal.customer_md5 is not None:
        raise _ssec_annotation()
    return dict(found)


def _ssec_annotation() -> Refusal:
    return _invalid("Objects encrypted with SSE-C cannot have annotations.", "InvalidRequest")


def _retention_of(found: Any) -> Reply:
    hold = extras.hold_of(found)
    if not found.lock_mode and hold is None:
        raise Refusal(
            404,
            "NoSuchObjectLockConfiguration",
            "The specified object does not have a ObjectLock configuration",
        )
    kept = ""
    if found.lock_mode:
        kept = (
            f"<Mode>{found.lock_mode}</Mode><RetainUntilDate>{found.lock_until}</RetainUntilDate>"
        )
    kept += hold.xml() if hold else ""
    return Reply(200, _XML, f"{_XML_HEAD}<Retention>{kept}</Retention>".encode())


def _precondition(condition: str) -> Refusal:
    return Refusal(
        412,
        "PreconditionFailed",
        f"At least one of the pre-conditions you specified did not hold: {condition}",
    )


def _same_etag(wanted: str, found: Any) -> bool:
    return wanted == "*" or wanted.strip('"') == str(found.etag).strip('"')


def _copy_source(request: Request) -> tuple[str, str, str | None]:
    """Return bucket, key and version id of what is to be copied."""
    path, _, query = request.headers["x-amz-copy-source"].partition("?")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    return bucket, key, dict(parse_qsl(query)).get("versionId")


def _xml_texts(text: str, element: str) -> list[str]:
    return [found.strip() for found in re.findall(rf"<{element}>([^<]*)</{element}>", text)]


def _bare(request: Request, extra: Mapping[str, str] | None = None) -> Request:
    """Return the request without what the front has dealt with: encryption and conditions."""
    kept = {
        name: value
        for name, value in request.headers.items()
        if not name.startswith((SSE, SOURCE_SSE_C))
        and name not in {"if-match", "if-none-match", "x-amz-copy-source-if-match"}
    }
    # With locks moto wants this header of copies too, and where the checksum itself is there.
    sent = bodies.checksum_of(request) if request.method == "PUT" else None
    if sent is not None:
        kept["x-amz-sdk-checksum-algorithm"] = sent[0]
    elif "x-amz-copy-source" in request.headers:
        kept["content-md5"] = bodies.checksum("MD5", b"")
    return replace(request, headers={**kept, **(extra or {})})


def _saying(reply: Reply, seal: _Seal, *, context: bool = False) -> Reply:
    """Return the reply with the encryption's headers instead of moto's."""
    if reply.status >= 300:
        return reply
    kept = [pair for pair in reply.headers if not pair[0].lower().startswith(SSE)]
    return replace(reply, headers=(*kept, *seal.headers(context=context)))


def _saying_checksum(request: Request, reply: Reply, checksum: _Checksum) -> Reply:
    """Return the reply with the object's checksum instead of moto's, where it is asked for."""
    prefixes = (bodies.PREFIX, "x-amz-sdk-checksum")
    kept = [pair for pair in reply.headers if not pair[0].lower().startswith(prefixes)]
    # S3 promises none for a range, nor do we for a part.
    whole = reply.status == 200 and "partNumber" not in request.query
    if whole and request.headers.get(f"{bodies.PREFIX}mode", "").upper() == "ENABLED":
        kept.append((f"{bodies.PREFIX}{checksum.algorithm.lower()}", checksum.value))
        kept.append((f"{bodies.PREFIX}type", checksum.kind))
    return replace(reply, headers=tuple(kept))
