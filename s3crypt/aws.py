# SPDX-License-Identifier: Apache-2.0
"""AWS clients per process, and the one place where botocore's errors become ours.

Knows nothing of objects, modes or messages.
"""

import copy
import math
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
    UnknownRegionError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.loaders import Loader
from botocore.utils import get_environ_proxies

from . import redaction
from .errors import (
    ConfigError,
    ConflictError,
    IntegrityError,
    KeyUnavailableError,
    ObjectNotFoundError,
    Remedy,
    S3CryptError,
    StorageError,
)

# One a process: a fork may happen while another thread holds its parent's.
_MAKING: dict[int, threading.Lock] = {}

RETRY_SECONDS = 60.0


@dataclass(slots=True)
class RetryPolicy:
    """How long the requests of one client are repeated.

    Attributes:
        attempts: Attempts of one request, at most; `AWS_MAX_ATTEMPTS` or the like sets it.
        deadline: Seconds from a request's first failure, after which no attempt begins.
        is_ours: Whether the client was made here; one of the caller's retries by itself.
        was_answered: Whether the service has answered this client in this process. Before that, a
            request that gets no answer at all gives up after three attempts.
    """

    attempts: int
    deadline: float
    is_ours: bool = False
    was_answered: bool = False


# What the clients made here are to do. A client of the caller's retries by itself, so that no
# attempt is added to its own.
_POLICIES: "WeakKeyDictionary[Any, RetryPolicy]" = WeakKeyDictionary()


def policy_of(client: Any) -> RetryPolicy:
    """Return how the requests of a client are repeated: once for one that was not made here."""
    made = client.made if isinstance(client, _Arranged) else client
    return _POLICIES.setdefault(made, RetryPolicy(1, RETRY_SECONDS))


def is_aws(client: Any) -> bool:
    """Return whether a client's endpoint is AWS's, VPC endpoints included."""
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    return any(host == suffix or host.endswith(f".{suffix}") for suffix in _aws_suffixes())


@cache
def _aws_suffixes() -> frozenset[str]:
    """Return the domains of AWS's services in every partition that botocore knows."""
    partitions = Loader().load_data("partitions")["partitions"]
    outputs = [partition["outputs"] for partition in partitions]
    return frozenset(
        output[name] for output in outputs for name in ("dnsSuffix", "dualStackDnsSuffix")
    )


class Clients:
    """Service clients of one session, made when first needed and never carried across a fork.

    A client's connection pool must not be shared by two processes: both would write to one
    socket. Creating clients from one session is not thread-safe either, hence the lock.
    """

    def __init__(  # noqa: PLR0913 - by name
        self,
        service: str,
        *,
        session: boto3.Session | None = None,
        client: Any = None,
        endpoint_url: str | None = None,
        connections: int = 0,
        allow_plain_http: bool = False,
        expected_bucket_owner: str | None = None,
        request_payer: str | None = None,
    ) -> None:
        if client is not None and (session is not None or endpoint_url):
            raise ConfigError("Give a client, or what it is to be made of; not both.")
        redaction.install()
        self._service = service
        self._session = session
        self._given = client
        self._endpoint_url = endpoint_url
        # botocore keeps ten connections; those of further threads it would open anew each time.
        self._connections = connections
        self._allow_plain_http = allow_plain_http
        self._added = _added(expected_bucket_owner, request_payer)
        self._config = Config(max_pool_connections=connections) if connections > 10 else Config()
        self._want_checksums = True
        self._pid = os.getpid()
        self._regions: dict[str, frozenset[str]] = {}
        self._clients: dict[tuple[int, str | None], Any] = {}

    def get(self, region: str | None = None) -> Any:
        """Return the client for `region` (None: the session's own).

        Where its requests leave this machine over plain HTTP, and that was not allowed, a KMS
        client is refused, and an S3 client refuses requests that carry a customer key. An S3
        client adds the expected owner and the payer to every request that takes them.

        Raises:
            ConfigError: The client cannot be made, or is refused.
        """
        if self._given is not None and os.getpid() != self._pid:
            raise ConfigError(
                f"The {self._service} client was made before this process was forked.",
                hint="Pass a boto3 session instead of a client, or make the client here.",
            )
        wanted = (os.getpid(), region if self._given is None else None)
        if wanted not in self._clients:
            # boto3's sessions make one client at a time, and several of us may share one.
            with _MAKING.setdefault(os.getpid(), threading.Lock()):
                if wanted not in self._clients:
                    self._clients[wanted] = self._guarded(self._given or self._make(region))
        return self._clients[wanted]

    def _guarded(self, client: Any) -> Any:
        host = None if self._allow_plain_http else _plain_http_host(client)
        if host is not None and self._service != "s3":
            raise _over_plain_http("Data keys", host)
        added = self._added
        if isinstance(client, _Arranged):
            # Another store's client: what it demands counts as well.
            if any(client.added.get(name, value) != value for name, value in added.items()):
                raise ConfigError(
                    "The client that was given expects another bucket owner or payer."
                )
            client, added = client.made, {**client.added, **added}
        return _Arranged(client, host, added) if host or added else client

    def _make(self, region: str | None) -> Any:
        with translating(f"the {self._service} client"):
            session: Any = self._session or boto3.Session()
            try:
                return self._client_of(session, region)
            except ValueError as error:
                if isinstance(error, BotoCoreError):
                    raise
                # botocore's type for a malformed endpoint URL or number in the configuration.
                raise ConfigError(f"AWS settings: {error}.", hint=_SETTINGS_HINT) from error

    def regions(self, partition: str) -> frozenset[str]:
        """Return the service's Regions in a partition, as botocore's data has them.

        For the others botocore makes up a host's name, which is then asked for in the DNS.
        """
        if partition not in self._regions:
            with _MAKING.setdefault(os.getpid(), threading.Lock()), translating("the AWS settings"):
                session: Any = self._session or boto3.Session()
                found = session.get_available_regions(self._service, partition_name=partition)
            self._regions[partition] = frozenset(found)
        return self._regions[partition]

    def partition(self, region: str) -> str:
        """Return the partition whose hosts botocore asks for a Region, known to it or not."""
        with translating("the AWS settings"):
            session: Any = self._session or boto3.Session()
            try:
                return str(session.get_partition_for_region(region))
            except UnknownRegionError:
                # Names of Regions that have no known form go to amazonaws.com.
                return "aws"

    @property
    def are_of_the_default_session(self) -> bool:
        """Return whether neither a session nor a client was given."""
        return self._session is None and self._given is None

    def with_session(self, session: boto3.Session) -> "Clients":
        """Return clients of `session`, made as these; theirs is the default session."""
        if not self.are_of_the_default_session:
            raise AssertionError("unreachable: a session or client that was given is kept")
        other = copy.copy(self)
        other._session = session  # noqa: SLF001 - same class
        return other

    @property
    def are_ours(self) -> bool:
        """Tell whether they are made here, not given."""
        return self._given is None

    @property
    def want_checksums(self) -> bool:
        """Tell whether nobody has set that S3 requests go without; known once there is one."""
        return self._want_checksums

    def _client_of(self, session: Any, region: str | None) -> Any:
        def client_of(config: Config) -> Any:
            return session.client(
                self._service, region_name=region, endpoint_url=self._endpoint_url, config=config
            )

        client = client_of(self._config)
        config = self._config.merge(_timeouts(client.meta.config))
        # botocore makes one attempt, and `requests` repeats it; botocore's retry mode stays, since
        # "adaptive" paces requests too.
        set_here = client.meta.config
        retries: Any = dict(set_here.retries or {})
        policy = RetryPolicy(
            int(retries.get("total_max_attempts") or _UNLIMITED),
            _seconds("S3CRYPT_RETRY_SECONDS", RETRY_SECONDS),
            is_ours=True,
        )
        mode = retries.get("mode", "standard")
        config = config.merge(Config(retries={"total_max_attempts": 1, "mode": mode}))
        if self._service == "s3":
            config = config.merge(self._s3_config(client))
        client = client_of(config)
        _POLICIES[client] = policy
        return client

    def _s3_config(self, client: Any) -> Config:
        # What is set of checksums is for whoever sends to obey: botocore knows one kind only.
        set_here = client.meta.config
        self._want_checksums = set_here.request_checksum_calculation != "when_required"
        s3: Any = dict(set_here.s3 or {})
        if client.meta.endpoint_url.startswith("https:") and self._want_checksums:
            # Under TLS, a hash of the body for the signature would cost more than its encryption:
            # SHA-256 takes a core at one or two GB/s. Without TLS nothing else protects it.
            s3.setdefault("payload_signing_enabled", False)
        return Config(s3=s3, request_checksum_calculation="when_required")

    def __reduce__(self) -> tuple[Any, ...]:
        if self._session is not None or self._given is not None:
            raise TypeError(
                "AWS sessions and clients cannot be pickled; make store and keyrings there, "
                "or leave the session out: each process then has its own."
            )
        make = partial(
            Clients,
            endpoint_url=self._endpoint_url,
            connections=self._connections,
            allow_plain_http=self._allow_plain_http,
            expected_bucket_owner=self._added.get("ExpectedBucketOwner"),
            request_payer=self._added.get("RequestPayer"),
        )
        return make, (self._service,)


def _added(expected_bucket_owner: str | None, request_payer: str | None) -> dict[str, str]:
    """Return the arguments that every S3 request is to have, where its operation takes them.

    Raises:
        ConfigError: The owner is no account id, or the payer is unknown.
    """
    added = {}
    if expected_bucket_owner is not None:
        if not isinstance(expected_bucket_owner, str) or not _ACCOUNT_ID.fullmatch(
            expected_bucket_owner
        ):
            raise ConfigError(
                f"The expected owner of a bucket is an account id, not {expected_bucket_owner!r}.",
                hint="Give its 12 digits as text.",
            )
        added["ExpectedBucketOwner"] = added["ExpectedSourceBucketOwner"] = expected_bucket_owner
    if request_payer is not None:
        if request_payer != "requester":
            raise ConfigError(f"request_payer is 'requester', not {request_payer!r}.")
        added["RequestPayer"] = request_payer
    return added


_ACCOUNT_ID = re.compile("[0-9]{12}")


_CUSTOMER_KEYS = frozenset({"SSECustomerKey", "CopySourceSSECustomerKey"})


class _Arranged:
    """An S3 client as one store uses it; the client itself is not changed.

    Args:
        client: The client that makes the requests.
        host: Where its requests go over plain HTTP, which refuses customer keys; or None.
        added: Arguments of every request whose operation takes them.
    """

    def __init__(self, client: Any, host: str | None, added: Mapping[str, str]) -> None:
        self.made = client
        self.added = added
        self._host = host
        self._added_to: dict[str, dict[str, str]] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # `copy` and `pickle` ask before there is a client.
            raise AttributeError(name)
        attribute = getattr(self.made, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **options: Any) -> Any:
            if self._host is not None and not _CUSTOMER_KEYS.isdisjoint(options):
                raise _over_plain_http("Customer keys", self._host)
            added = self._added_to.get(name)
            if added is None:
                added = self._added_to[name] = self._taken_by(name)
            try:
                return attribute(*arguments, **{**added, **options})
            except ClientError as error:
                if "ExpectedBucketOwner" in added and http_status(error) == HTTPStatus.FORBIDDEN:
                    self._name_owner(error)
                raise

        return call

    def _taken_by(self, method: str) -> dict[str, str]:
        operation = self.made.meta.method_to_api_mapping.get(method)
        if operation is None:
            return {}
        shape = self.made.meta.service_model.operation_model(operation).input_shape
        taken = shape.members if shape else {}
        return {name: value for name, value in self.added.items() if name in taken}

    def _name_owner(self, error: ClientError) -> None:
        """Say that the owner may be the reason: S3 refuses both with the same words."""
        said = error.response.get("Error", {})
        said["Message"] = (
            f"{said.get('Message', 'Forbidden')}; or the bucket is not of account "
            f"{self.added['ExpectedBucketOwner']}, as it was to be"
        )


def _plain_http_host(client: Any) -> str | None:
    """Return the other machine that a client's requests go to over plain HTTP, or None."""
    url = str(client.meta.endpoint_url)
    parts = urlsplit(url)
    if parts.scheme == "https":
        return None
    if not _is_loopback(parts.hostname):
        return parts.hostname or url
    # A proxy gets requests for this machine, too, unless NO_PROXY names it.
    proxies = client.meta.config.proxies
    proxy = (get_environ_proxies(url) if proxies is None else proxies).get("http")
    if not proxy:
        return None
    host = urlsplit(proxy if "://" in proxy else f"http://{proxy}").hostname
    return None if _is_loopback(host) else host or proxy


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host or "") in _LOOPBACK_4 or host == "::1"
    except ValueError:
        return False


_LOOPBACK_4 = ip_network("127.0.0.0/8")


def _over_plain_http(what: str, host: str) -> ConfigError:
    return ConfigError(
        f"{what} would go to {host} over plain HTTP, to be read by whoever is on the way.",
        hint="Use an endpoint with https://.",
        remedy=Remedy("accept_plain_http", allow_plain_http=True),
    )


_UNLIMITED = 2**31


# botocore waits 60 seconds for a connection, three times for a name that nobody answers to.
_BOTOCORE_CONNECT_TIMEOUT, _CONNECT_TIMEOUT = 60, 10


def _timeouts(set_here: Any) -> Config:
    connect, read = set_here.connect_timeout, set_here.read_timeout
    if connect == _BOTOCORE_CONNECT_TIMEOUT:
        connect = _CONNECT_TIMEOUT
    return Config(
        connect_timeout=_seconds("S3CRYPT_CONNECT_TIMEOUT", connect),
        read_timeout=_seconds("S3CRYPT_READ_TIMEOUT", read),
    )


def _seconds(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{variable} is a number of seconds, not {text!r}.")
    return seconds


@contextmanager
def translating(subject: str, failure: type[S3CryptError] = StorageError) -> Iterator[None]:
    """Turn any botocore error raised inside into ours.

    Args:
        subject: The object or key that the request is about.
        failure: What a refusal or failure is that has no type of its own: KeyUnavailableError
            where KMS is asked.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise translate(error, subject, failure) from error


def translate(
    error: ClientError | BotoCoreError, subject: str, failure: type[S3CryptError] = StorageError
) -> S3CryptError:
    """Return our error for botocore's, with its code and request id; the caller raises it."""
    if isinstance(error, ClientError):
        return _from_reply(error, subject, failure)
    if is_unsendable(error):
        # Python's error repeats the header's value, which may be a session token.
        return ConfigError(
            f"{subject}: a header of the request cannot be sent.",
            hint="Check credentials and metadata for line breaks.",
        )
    if isinstance(error, BotoConnectionError | HTTPClientError):
        return failure(f"Could not reach the service for {subject}: {error}", hint=_NETWORK_HINT)
    for kinds, message, advice in _LOCAL:
        if isinstance(error, kinds):
            return ConfigError(message.format(subject=subject, error=error), **_advised(advice))
    return failure(f"{subject}: {error}")


def is_unsendable(error: BaseException) -> bool:
    """Return whether a request was never sent because of what a header of it contains."""
    if not isinstance(error, HTTPClientError):
        return False
    return isinstance(error.kwargs.get("error"), ValueError)


_Advice: TypeAlias = str | Remedy | None
_SIGN_IN = Remedy("sign_in")
# What goes wrong before a service answers.
_LOCAL: tuple[tuple[tuple[type[BotoCoreError], ...], str, _Advice], ...] = (
    ((NoCredentialsError, PartialCredentialsError), "No AWS credentials.", _SIGN_IN),
    ((SSOError, TokenRetrievalError), "AWS sign-in failed: {error}", _SIGN_IN),
    (
        (InvalidRegionError, NoRegionError, ProfileNotFound),
        "{error}",
        "Set AWS_DEFAULT_REGION or AWS_PROFILE.",
    ),
    ((ParamValidationError,), "{subject}: {error}", None),
)
_SETTINGS_HINT = "Check AWS_* in the environment and the AWS configuration file."
_NETWORK_HINT = "Check the network, the region and the endpoint URL."
_SET_REGION = Remedy("set_region")
_DENIED_HINT = "Ask for the permission named in the service's message."
# code -> (type, what happened, what to do). S3 prefixes KMS's codes with "KMS.".
_CODES: dict[str, tuple[type[S3CryptError], str, _Advice]] = {
    "NoSuchKey": (ObjectNotFoundError, "no such object", Remedy("list_objects")),
    "NoSuchVersion": (ObjectNotFoundError, "no such version", "Check the version id."),
    "NoSuchUpload": (
        StorageError,
        "the upload is gone: aborted by someone else, or completed by an attempt before",
        "Look at the object before you run it again.",
    ),
    "NoSuchBucket": (StorageError, "no such bucket", "Check the name, or create the bucket."),
    "PreconditionFailed": (
        ConflictError,
        "it exists or was changed by another writer",
        "Theirs was kept. Look at it, then decide.",
    ),
    "ConditionalRequestConflict": (
        ConflictError,
        "another writer was writing it at the same time",
        "Run it again.",
    ),
    "InvalidObjectState": (StorageError, "it is archived", "Restore it from Glacier first."),
    "PermanentRedirect": (StorageError, "the bucket is in another region", _SET_REGION),
    "AuthorizationHeaderMalformed": (StorageError, "wrong region", _SET_REGION),
    "IllegalLocationConstraintException": (StorageError, "wrong region", _SET_REGION),
    "InvalidAccessKeyId": (StorageError, "the access key is unknown", "Check the credentials."),
    "SignatureDoesNotMatch": (StorageError, "the secret key is wrong", "Check the credentials."),
    "ExpiredToken": (StorageError, "the credentials have expired", "Sign in again."),
    "DisabledException": (KeyUnavailableError, "the key is disabled", "Enable it in KMS."),
    "KMSInvalidStateException": (
        KeyUnavailableError,
        "the key's state forbids it (disabled, pending deletion or import)",
        "Cancel its deletion or enable it in KMS, while that is possible.",
    ),
    "NotFoundException": (
        KeyUnavailableError,
        "no such key",
        "Check the key's ARN or alias, its region and account.",
    ),
    "KeyUnavailableException": (KeyUnavailableError, "the key is not available now", "Try later."),
    "ThrottlingException": (KeyUnavailableError, "KMS throttled the requests", "Try later."),
    "InvalidKeyUsageException": (
        KeyUnavailableError,
        "the key cannot wrap data keys",
        "Use a symmetric ENCRYPT_DECRYPT key.",
    ),
    "InvalidCiphertextException": (
        IntegrityError,
        "KMS could not open the wrapped data key: wrong key, changed, or another context",
        None,
    ),
    "IncorrectKeyException": (
        IntegrityError,
        "the data key is wrapped by another KMS key than the one named",
        Remedy("inspect_object"),
    ),
}


def error_code(error: BaseException) -> str:
    """Return the service's code of a botocore ClientError, or an empty string."""
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def http_status(error: BaseException | None) -> int:
    """Return the HTTP status of a service's refusal, of ours for it too; 0 for anything else."""
    if isinstance(error, S3CryptError):
        error = error.__cause__
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def reply_headers(error: BaseException | None) -> Mapping[str, str]:
    """Return the headers of a service's refusal, of ours for it too, names in lower case."""
    if isinstance(error, S3CryptError):
        error = error.__cause__
    if not isinstance(error, ClientError):
        return {}
    headers: Mapping[str, str] = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def _from_reply(error: ClientError, subject: str, failure: type[S3CryptError]) -> S3CryptError:
    reply = error.response
    code = error_code(error)
    metadata = reply.get("ResponseMetadata", {})
    status = http_status(error)
    request_id = metadata.get("RequestId")
    said = str(reply.get("Error", {}).get("Message", ""))
    is_kms = code.startswith("KMS.") or failure is KeyUnavailableError
    kind, what, advice = _CODES.get(
        code.removeprefix("KMS."), _by_status(status, code, said, is_kms=is_kms)
    )
    if is_kms and kind is StorageError:
        kind = KeyUnavailableError
    if code.startswith("KMS."):
        # Through S3, `subject` is the object; what happened, happened to its KMS key.
        what = f"its KMS key: {what}"
    return kind(f"{subject}: {what}", **_advised(advice), code=code, request_id=request_id)


def _advised(advice: _Advice) -> dict[str, Any]:
    return {"remedy": advice} if isinstance(advice, Remedy) else {"hint": advice}


def _by_status(
    status: int, code: str, said: str, *, is_kms: bool
) -> tuple[type[S3CryptError], str, _Advice]:
    # Other services than AWS use other codes, and HEAD has no body to carry one.
    if status == 404 and not is_kms:
        return ObjectNotFoundError, "no such object", "Check the bucket's and the object's name."
    if status == 412:
        return _CODES["PreconditionFailed"]
    if status == 301:
        return _CODES["PermanentRedirect"]
    kind: type[S3CryptError] = KeyUnavailableError if is_kms or "kms:" in said else StorageError
    if status == 403 or "AccessDenied" in code:
        return kind, f"access denied ({said or code})", _DENIED_HINT
    return kind, f"{code}: {said}".strip(": "), None
