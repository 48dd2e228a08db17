# SPDX-License-Identifier: Apache-2.0
"""AWS clients, made separately in each process.

This module does not depend on objects, modes or messages.
"""

import copy
import math
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from typing import Any, Generic, Literal, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit
from weakref import WeakKeyDictionary

import boto3
from botocore import UNSIGNED
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError, UnknownRegionError
from botocore.loaders import Loader
from botocore.utils import get_environ_proxies

from . import redaction
from .aws_errors import http_status, is_throttle, map_aws_errors, raise_settings
from .connections import demand_whole_headers, parse_replies_quickly
from .errors import ConfigError, Remedy, S3CryptError
from .local.distance import Distance
from .local.rate import Turns

C = TypeVar("C", bound=BaseClient)
Service: TypeAlias = Literal[
    "accessanalyzer", "cloudtrail", "iam", "kms", "s3", "s3control", "s3tables", "s3vectors", "sts"
]  # fmt: skip
Observer: TypeAlias = Callable[[BaseClient], None]
"""Called with each client that is made, before its first request."""

# Each process has its own lock, because during a fork another thread may hold the parent's lock.
_MAKING: dict[int, threading.Lock] = {}

RETRY_SECONDS = 60.0


@dataclass(slots=True)
class RetryPolicy:
    """The limits for the retries of one client's requests, and what was measured about its service.

    Attributes:
        attempts: The maximum number of attempts of one request. `AWS_MAX_ATTEMPTS` and similar
            settings set it.
        deadline: The number of seconds after a request's first failure. After that, no attempt
            begins.
        is_ours: Whether the client was made here. A client of the caller retries requests by
            itself.
        was_answered: Whether the service has replied to this client in this process. Before the
            first reply, a request without any reply is given up after three attempts.
        distance: Measures whether the service is far away.
        turns: Limits the rate of requests after the service has throttled requests. None for the
            caller's client, and if botocore limits the rate.
    """

    attempts: int
    deadline: float
    is_ours: bool = False
    was_answered: bool = False
    distance: Distance = field(default_factory=Distance)
    turns: Turns | None = None

    def asking(self) -> AbstractContextManager[None]:
        """Run the block, which makes one request, when its turn comes.

        The request's time is measured without the wait for the turn.
        """
        turn = self.turns.taken() if self.turns else nullcontext()
        return turn if self.distance.is_known else self._measuring(turn)

    @contextmanager
    def _measuring(self, turn: AbstractContextManager[None]) -> Iterator[None]:
        with turn, self.distance.measured():
            yield


# The policies of the clients that are made here. A client of the caller retries by itself, so its
# policy permits a single attempt.
_POLICIES: "WeakKeyDictionary[BaseClient, RetryPolicy]" = WeakKeyDictionary()


def policy_of(client: BaseClient) -> RetryPolicy:
    """Return a client's retry policy. A client that was not made here gets a single attempt."""
    made = client.made if isinstance(client, _Arranged) else client
    policy = _POLICIES.get(made)
    return policy or _POLICIES.setdefault(made, RetryPolicy(1, RETRY_SECONDS))


def is_far(client: BaseClient) -> bool:
    """Return whether a client's service is known to be far away."""
    return policy_of(client).distance.is_far


def config_of(client: BaseClient) -> Any:
    """Return a client's configuration.

    Its type is Any, because botocore's stubs lack most attributes.
    """
    return client.meta.config


def is_aws(client: BaseClient) -> bool:
    """Return whether a client's endpoint belongs to AWS. VPC endpoints belong to AWS."""
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


class Clients(Generic[C]):
    """The clients of a service for one session. They are made when needed, separately per process.

    Two processes must not share a client's connection pool, because both would write to the same
    socket. Making clients from one session is not thread-safe, so there is a lock.
    """

    def __init__(  # noqa: PLR0913 - keyword arguments
        self,
        service: Service,
        *,
        session: boto3.Session | None = None,
        client: C | None = None,
        endpoint_url: str | None = None,
        connections: int = 0,
        allow_plain_http: bool = False,
        expected_bucket_owner: str | None = None,
        request_payer: str | None = None,
        no_sign_request: bool = False,
        observe: Observer | None = None,
    ) -> None:
        if client is not None and no_sign_request:
            raise ConfigError("A given client decides itself whether it signs requests.")
        if client is not None and (session is not None or endpoint_url):
            raise ConfigError(
                "Give either a client, or the session and the settings of a new client."
            )
        _check_kinds(service, session, client)
        redaction.install()
        self._service = service
        self._session = session
        self._given = client
        self._endpoint_url = endpoint_url
        self._connections = connections
        self._allow_plain_http = allow_plain_http
        self._added = _added(expected_bucket_owner, request_payer)
        self._no_sign_request = no_sign_request
        self._observe = observe
        self._want_checksums = True
        self._pid = os.getpid()
        self._regions: dict[str, frozenset[str]] = {}
        self._clients: dict[tuple[int, str | None], C] = {}

    def get(self, region: str | None = None) -> C:
        """Return the client for `region`. None for the Region of the session.

        If the client's requests would go to another machine over plain HTTP, and this was not
        allowed, the client is refused. For S3, only requests with a customer key are refused. An S3
        client adds the expected bucket owner and the payer to every request that accepts them.

        Raises:
            ConfigError: The client cannot be made or is refused.
        """
        if self._given is not None and os.getpid() != self._pid:
            raise ConfigError(
                f"The {self._service} client was made before this process was forked.",
                hint="Pass a boto3 session instead of a client, or make the client here.",
            )
        wanted = (os.getpid(), region if self._given is None else None)
        if wanted not in self._clients:
            # A boto3 session can make only one client at a time, and several `Clients` may use the
            # same session.
            with _MAKING.setdefault(os.getpid(), threading.Lock()):
                if wanted not in self._clients:
                    self._clients[wanted] = self._guarded(self._given or self._make(region))
        return self._clients[wanted]

    def _guarded(self, client: C) -> C:
        host = None if self._allow_plain_http else _plain_http_host(client)
        if host is not None and self._service != "s3":
            raise _over_plain_http(_CARRIED.get(self._service, "Policies and identities"), host)
        added = self._added
        if isinstance(client, _Arranged):
            # The client comes from another store. The expected owner and the payer of that store
            # apply, too.
            if any(client.added.get(name, value) != value for name, value in added.items()):
                raise ConfigError("The given client expects another bucket owner or payer.")
            client, added = client.made, {**client.added, **added}
        if not host and not added:
            return client
        # `_Arranged` has every attribute of the client, but mypy cannot see this because of
        # `__getattr__`. Only here, the type is asserted.
        return cast("C", _Arranged(client, host, added))

    def _make(self, region: str | None) -> C:
        with _of_settings():
            session: Any = self._session or boto3.Session()
            return self._client_of(session, region)

    def regions(self, partition: str) -> frozenset[str]:
        """Return the Regions of the service in a partition, according to botocore's data.

        For a Region that is not in this set, botocore would construct a host name, and the name
        would be looked up in the DNS.
        """
        if partition not in self._regions:
            with _MAKING.setdefault(os.getpid(), threading.Lock()), _of_settings():
                session: Any = self._session or boto3.Session()
                found = session.get_available_regions(self._service, partition_name=partition)
            self._regions[partition] = frozenset(found)
        return self._regions[partition]

    def partition(self, region: str) -> str:
        """Return the partition whose host names botocore uses for a known or unknown Region."""
        with _of_settings():
            session: Any = self._session or boto3.Session()
            try:
                return str(session.get_partition_for_region(region))
            except UnknownRegionError:
                # If the name of a Region has an unknown form, botocore sends requests to
                # amazonaws.com.
                return "aws"

    @property
    def are_of_the_default_session(self) -> bool:
        """Return whether boto3's default session is used: no session or client was given."""
        return self._session is None and self._given is None

    def with_session(self, session: boto3.Session) -> "Clients[C]":
        """Return clients with the same settings that use `session`.

        Call it only for clients of boto3's default session.
        """
        if not self.are_of_the_default_session:
            raise AssertionError("unreachable: a session or client that was given is kept")
        other = copy.copy(self)
        other._session = session  # noqa: SLF001 - same class
        return other

    @property
    def are_ours(self) -> bool:
        """Return whether the clients are made here. It is False for a client of the caller."""
        return self._given is None

    @property
    def want_checksums(self) -> bool:
        """Return whether S3 requests should carry checksums.

        The setting is read when the first client is made.
        """
        return self._want_checksums

    def _client_of(self, session: Any, region: str | None) -> C:
        def client_of(config: Config) -> C:
            made: C = session.client(
                self._service, region_name=region, endpoint_url=self._endpoint_url, config=config
            )
            return made

        client = client_of(Config())
        config = self._pool(config_of(client)).merge(_timeouts(config_of(client)))
        # botocore makes one attempt, and `s3crypt.requests` retries. botocore's retry mode is kept,
        # because with "adaptive" botocore also limits the rate of requests.
        set_here = config_of(client)
        retries: Any = dict(set_here.retries or {})
        mode = retries.get("mode", "standard")
        service = f"{self._service} of {client.meta.region_name}"
        policy = RetryPolicy(
            int(retries.get("total_max_attempts") or _UNLIMITED),
            _seconds("S3CRYPT_RETRY_SECONDS", RETRY_SECONDS),
            is_ours=True,
            turns=None if mode == "adaptive" else Turns(service, is_throttle),
        )
        config = config.merge(Config(retries={"total_max_attempts": 1, "mode": mode}))
        if self._service == "s3":
            config = config.merge(self._s3_config(client))
        if self._no_sign_request:
            config = config.merge(Config(signature_version=UNSIGNED))
        client = client_of(config)
        _POLICIES[client] = policy
        client.meta.events.register_last("before-call.s3", _without_expect)
        events: Any = client.meta.events  # The stubs know only handlers that return nothing.
        events.register_first("choose-signer.s3", _presigning_by_sigv4)
        client.meta.events.register_first("request-created.s3-control", _to_an_address)
        parse_replies_quickly(client)
        demand_whole_headers(client)
        if self._observe is not None:
            self._observe(client)
        return client

    def _pool(self, set_here: Any) -> Config:
        kept = max(_LEAST_CONNECTIONS, self._connections, set_here.max_pool_connections)
        return Config(max_pool_connections=kept)

    def _s3_config(self, client: BaseClient) -> Config:
        # botocore itself computes only one kind of checksum, so it is turned off here.
        # `transfer.checksums` follows the setting instead.
        set_here = config_of(client)
        self._want_checksums = set_here.request_checksum_calculation != "when_required"
        s3: Any = dict(set_here.s3 or {})
        if client.meta.endpoint_url.startswith("https:") and self._want_checksums:
            # Under TLS, hashing the body for the signature would take longer than encrypting it:
            # SHA-256 needs one core for one or two GB/s. Without TLS, only this hash protects the
            # body, so it is kept.
            s3.setdefault("payload_signing_enabled", False)
        return Config(s3=s3, request_checksum_calculation="when_required")

    def __reduce__(self) -> tuple[Any, ...]:
        if self._session is not None or self._given is not None:
            raise TypeError(
                "AWS sessions and clients cannot be pickled; create the store and keyrings in the "
                "other process, or give no session: each process then creates its own."
            )
        make = partial(
            Clients,
            endpoint_url=self._endpoint_url,
            connections=self._connections,
            allow_plain_http=self._allow_plain_http,
            expected_bucket_owner=self._added.get("ExpectedBucketOwner"),
            request_payer=self._added.get("RequestPayer"),
            no_sign_request=self._no_sign_request,
        )
        return make, (self._service,)


def _to_an_address(request: Any, **_: Any) -> None:
    """Send a request of S3 Control to the endpoint itself if the endpoint's host is an IP address.

    botocore puts the account before the endpoint's host name. If the host is an IP address, the
    result is not a valid host name, such as http://123456789012.127.0.0.1.
    """
    parts = urlsplit(request.url)
    _, _, host = parts.netloc.partition(".")
    with suppress(ValueError):
        ip_address(host.partition(":")[0])
        request.url = urlunsplit(parts._replace(netloc=host))


def make_session(profile: str | None, region: str | None) -> boto3.Session:
    """Return a boto3 session for a profile and a Region. None stands for boto3's default.

    Raises:
        ConfigError: The profile does not exist, or the AWS configuration cannot be read.
    """
    with _of_settings():
        return boto3.Session(profile_name=profile, region_name=region)


@contextmanager
def _of_settings() -> Iterator[None]:
    """Convert every error of making sessions and clients to a ConfigError."""
    try:
        with map_aws_errors("AWS settings", ConfigError):
            yield
    except S3CryptError:
        raise
    except (OSError, ValueError) as error:
        # The settings name a file that cannot be used, or contain a malformed number, URL or JSON
        # document.
        raise_settings(error)


def _check_kinds(service: str, session: object, client: object) -> None:
    """Check that the session is a boto3 session and the client is a client of the service.

    Raises:
        ConfigError: The session or the client has another type.
    """
    if session is not None and not callable(getattr(session, "client", None)):
        raise ConfigError(
            f"session is a boto3.Session, not {type(session).__name__}.",
            hint="A client is given as client=...",
        )
    model = getattr(getattr(client, "meta", None), "service_model", None)
    if client is not None and getattr(model, "service_name", None) != service:
        raise ConfigError(
            f'client is boto3.client("{service}"), not {type(client).__name__}.',
            hint="A session is given as session=...",
        )


# By default botocore keeps ten connections per client. With more threads, each further request
# would open a new connection. A caller may use more threads than one transfer. An unused place in
# the pool takes no memory.
_LEAST_CONNECTIONS = 64


def _without_expect(params: dict[str, Any], **_: Any) -> None:
    """Send bodies without waiting for "100 Continue". The wait would take one round trip per write.

    botocore asks for "100 Continue" if the body is a file, and it wraps bytes as a file too.
    Without the wait, if S3 refuses or redirects the request, at most one part was sent
    unnecessarily.
    """
    params["headers"].pop("Expect", None)


def _presigning_by_sigv4(signature_version: Any, **_: Any) -> str | None:
    """Sign URLs by SigV4.

    In old Regions, botocore's default is SigV2, which puts headers into the URL.
    """
    text = signature_version if isinstance(signature_version, str) else ""
    if not text.endswith("-query") or text.startswith(("v4a", "v4-s3express")):
        return None
    return "s3v4-query"


def presigned_url(
    client: BaseClient, method: str, arguments: Mapping[str, Any], seconds: int
) -> tuple[str, dict[str, Any]]:
    """Return a presigned URL, and the arguments from which it was made.

    Args:
        client: An S3 client.
        method: The client method whose request the URL stands for.
        arguments: The arguments of the request.
        seconds: The number of seconds for which the URL is valid.

    Raises:
        ConfigError: The request would send a customer key over plain HTTP.
    """
    complete = dict(arguments)
    if isinstance(client, _Arranged):
        complete = client.arranged(method, arguments)
    presigning: Any = client  # Only the stubs of S3's client have the method.
    url = presigning.generate_presigned_url(method, Params=complete, ExpiresIn=seconds)
    return str(url), complete


def _added(expected_bucket_owner: str | None, request_payer: str | None) -> dict[str, str]:
    """Return the arguments to add to every S3 request whose operation accepts them.

    Raises:
        ConfigError: The owner is not an account id, or the payer is unknown.
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


class _Arranged(Generic[C]):
    """A wrapper of an S3 client that applies the rules of one store. The client is not changed.

    Args:
        client: The client that sends the requests.
        host: The host to which the requests go over plain HTTP. Requests with customer keys are
            then refused. None if the requests are protected.
        added: The arguments to add to every request whose operation accepts them.
    """

    def __init__(self, client: C, host: str | None, added: Mapping[str, str]) -> None:
        self.made = client
        self.added = added
        self._host = host
        self._added_to: dict[str, dict[str, str]] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # `copy` and `pickle` look up such attributes before `made` is set.
            raise AttributeError(name)
        attribute = getattr(self.made, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **options: Any) -> Any:
            complete = self.arranged(name, options)
            try:
                return attribute(*arguments, **complete)
            except ClientError as error:
                added = self._added_to[name]
                if "ExpectedBucketOwner" in added and http_status(error) == HTTPStatus.FORBIDDEN:
                    self._name_owner(error)
                raise

        return call

    def arranged(self, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a request, completed with the arguments in `added`.

        Raises:
            ConfigError: The request would send a customer key over plain HTTP.
        """
        if self._host is not None and not _CUSTOMER_KEYS.isdisjoint(options):
            raise _over_plain_http("Customer keys", self._host)
        added = self._added_to.get(method)
        if added is None:
            added = self._added_to[method] = self._taken_by(method)
        return {**added, **options}

    def _taken_by(self, method: str) -> dict[str, str]:
        operation = self.made.meta.method_to_api_mapping.get(method)
        if operation is None:
            return {}
        shape = self.made.meta.service_model.operation_model(operation).input_shape
        taken = shape.members if shape else {}
        return {name: value for name, value in self.added.items() if name in taken}

    def _name_owner(self, error: ClientError) -> None:
        """Add the expected owner to the error's message: S3 does not name it as the cause."""
        said = error.response.get("Error", {})
        said["Message"] = (
            f"{said.get('Message', 'Forbidden')}; or the bucket does not belong to the expected "
            f"account {self.added['ExpectedBucketOwner']}"
        )


def _plain_http_host(client: BaseClient) -> str | None:
    """Return the other machine to which a client's requests go over plain HTTP.

    Return None if there is none.
    """
    url = str(client.meta.endpoint_url)
    parts = urlsplit(url)
    if parts.scheme == "https":
        return None
    if not _is_loopback(parts.hostname):
        return parts.hostname or url
    # A proxy also receives requests for this machine, unless NO_PROXY names this machine.
    proxy = proxy_of(client)
    if proxy is None:
        return None
    host = urlsplit(proxy).hostname
    return None if _is_loopback(host) else host or proxy


def proxy_of(client: BaseClient) -> str | None:
    """Return the URL of the proxy through which a client's requests go.

    Return None without a proxy.
    """
    url = str(client.meta.endpoint_url)
    proxies = config_of(client).proxies
    found = get_environ_proxies(url) if proxies is None else proxies
    proxy = found.get(urlsplit(url).scheme)
    return None if not proxy else str(proxy) if "://" in proxy else f"http://{proxy}"


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host or "") in _LOOPBACK_4 or host == "::1"
    except ValueError:
        return False


_LOOPBACK_4 = ip_network("127.0.0.0/8")
# The confidential data in the requests and replies of a service, as words for an error.
_CARRIED: Mapping[str, str] = {"kms": "Data keys"}


def _over_plain_http(what: str, host: str) -> ConfigError:
    return ConfigError(
        f"{what} would be sent to {host} over plain HTTP, readable by everyone on the network.",
        hint="Use an https:// endpoint.",
        remedy=Remedy("accept_plain_http", allow_plain_http=True),
    )


_UNLIMITED = 2**31


# botocore waits 60 seconds for a connection by default, and three times as long for a host that
# cannot be reached.
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
