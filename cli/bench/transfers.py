# SPDX-License-Identifier: Apache-2.0
"""Real transfers in every mode, below a fresh prefix whose objects are all removed at the end."""

import functools
import ipaddress
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from filecmp import cmp
from pathlib import Path
from urllib.parse import urlsplit

import s3crypt
from s3crypt.errors import (
    ConfigError,
    IntegrityError,
    ObjectNotFoundError,
    S3CryptError,
    StorageError,
)

from ..options import ModeOptions, Settings
from .files import make_source
from .measure import Heat, Record, Subject, size_name, take_rounds

SIZES = (2**10, 2**20, 16 * 2**20, 64 * 2**20)
# Below this size, latency per object is reported instead of throughput.
LATENCY_BELOW = 2**20
_TOO_SLOW = "does not fit in the time (--seconds)"
_NEEDS_KEY = "needs a KMS key (--kms-key)"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The service that the transfers used.

    Attributes:
        uri: The bucket and prefix, as given.
        host: The service's host name.
        kind: aws, loopback or other.
    """

    uri: str
    host: str
    kind: str


@dataclass(frozen=True, slots=True)
class Modes:
    """The modes to measure, and the modes that cannot be measured with the reason, by name."""

    usable: Mapping[str, "s3crypt.Mode"]
    missing: Mapping[str, str] = field(default_factory=dict)


def modes(settings: Settings, kms_key: str | None) -> Modes:
    """Return every mode; client-side encryption uses the KMS key too, or else a random AES key.

    Raises:
        ConfigError: `kms_key` is not a KMS key.
    """
    usable: dict[str, s3crypt.Mode] = {"sse-s3": s3crypt.SSES3()}
    missing = {}
    if kms_key is None:
        missing = dict.fromkeys(("sse-kms", "dsse-kms"), _NEEDS_KEY)
        own = s3crypt.AESKeyring("s3crypt-bench", "random", secrets.token_bytes(32))
        keyring: s3crypt.Keyring = own
    else:
        key = kms_key if kms_key.startswith(("kms:", "arn:")) else f"kms:{kms_key}"
        for mode in ("sse-kms", "dsse-kms"):
            usable[mode] = ModeOptions(mode, {"key": (key,)}).required_mode_for(settings)
        keyring = s3crypt.KMSKeyring(
            key.removeprefix("kms:"),
            session=settings.session,
            allow_plain_http=settings.allow_plain_http,
        )
    usable["sse-c"] = s3crypt.SSEC(secrets.token_bytes(32))
    usable["client, header"] = s3crypt.ClientSide(keyring)
    usable["client, metadata"] = s3crypt.ClientSide(keyring, key_location="metadata")
    return Modes(usable, missing)


def check_uri(uri: str) -> None:
    """Refuse a URI that is not a bucket with or without a prefix.

    Raises:
        ConfigError: The URI is not of that form.
    """
    if not uri.startswith("s3://") or not uri[5:].partition("/")[0]:
        raise ConfigError(f"{uri!r} is not s3://BUCKET or s3://BUCKET/PREFIX.")


def endpoint(store: "s3crypt.S3Crypt", uri: str) -> Endpoint:
    """Return the endpoint of a store's requests."""
    parts = urlsplit(str(store.client.meta.endpoint_url))
    host = parts.hostname or ""
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws")):
        kind = "aws"
    else:
        kind = "loopback" if _is_loopback(host) else "other"
    return Endpoint(uri, f"{host}:{parts.port}" if parts.port else host, kind)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class Transfers:
    """Objects below one fresh prefix, put and fetched in several modes."""

    def __init__(
        self, store: "s3crypt.S3Crypt", uri: str, chosen: Mapping[str, "s3crypt.Mode"], folder: Path
    ) -> None:
        self.prefix = f"{uri.rstrip('/')}/s3crypt-bench-{secrets.token_hex(8)}/"
        self.refused: dict[str, str] = {}
        self._store = store
        self._modes = dict(chosen)
        self._folder = folder
        self._stored: set[tuple[str, str | None]] = set()
        # Objects whose put failed or was interrupted; S3 may have stored them anyway.
        self._doubtful: dict[str, s3crypt.Mode] = {}
        self._versioned = False
        self._compared: set[str] = set()

    def probe(self) -> None:
        """Try every mode once, and drop refused modes; this also warms up the connections.

        Raises:
            S3CryptError: No mode works, or stored objects cannot be removed.
        """
        failures: list[S3CryptError] = []
        for name in list(self._modes):
            with self._dropping(name, SIZES[0], failures.append):
                self._put(name, SIZES[0])
                self._get(name, SIZES[0])
        if not self._modes:
            raise failures[0]
        self._remove_stored()

    def measure(self, record: Record, *, seconds: float) -> dict[int, str]:
        """Measure for about `seconds`. Return the sizes not measured, with the reasons."""
        heats = [Heat(functools.partial(self._run, record, size), weight=size) for size in SIZES]
        taken = take_rounds(heats, seconds=seconds)
        return dict.fromkeys(SIZES[taken:], _TOO_SLOW)

    @contextmanager
    def removing(self) -> Iterator[None]:
        """Remove all objects when the block ends, even with an error.

        Raises:
            StorageError: Some objects could not be removed.
        """
        try:
            yield
        finally:
            try:
                self._remove_doubtful()
                self._remove_stored()
            except (S3CryptError, KeyboardInterrupt) as error:
                raise StorageError(
                    f"Objects may be left below {self.prefix}: {error or 'interrupted'}",
                    hint=f"Remove them: s3crypt rm -r {self.prefix}",
                ) from error

    def _run(self, record: Record, size: int, turn: int) -> None:
        names = list(self._modes)
        for name in names if turn % 2 == 0 else reversed(names):
            with self._dropping(name, size):
                for what, action in (("put", self._put), ("get", self._get)):
                    started = time.perf_counter()
                    action(name, size)
                    seconds = time.perf_counter() - started
                    if size < LATENCY_BELOW:
                        value, unit = seconds * 1e3, "ms"
                    else:
                        value, unit = size / seconds / 1e9, "GB/s"
                    record.add(Subject("transfers", what, unit, size, mode=name), value)
                self._compare(name, size)

    @contextmanager
    def _dropping(
        self, name: str, size: int, on_failure: Callable[[S3CryptError], None] | None = None
    ) -> Iterator[None]:
        """If the service refuses the mode `name`, drop the mode and keep the reason."""
        try:
            yield
        except IntegrityError:
            raise
        except S3CryptError as error:
            del self._modes[name]
            self.refused[name] = f"at {size_name(size)}: {error}"
            if on_failure:
                on_failure(error)

    def _put(self, name: str, size: int) -> None:
        uri, mode = self._uri(name, size), self._modes[name]
        self._doubtful[uri] = mode
        info = self._store.put(make_source(self._folder, size), uri, mode=mode)
        self._stored.add((uri, info.version_id))
        self._versioned = self._versioned or info.version_id is not None
        del self._doubtful[uri]

    def _get(self, name: str, size: int) -> None:
        self._store.get(self._uri(name, size), self._folder / "back", mode=self._modes[name])

    def _compare(self, name: str, size: int) -> None:
        # Compare each object only once: the modes that verify check every get themselves.
        if (uri := self._uri(name, size)) not in self._compared:
            self._compared.add(uri)
            if not cmp(make_source(self._folder, size), self._folder / "back", shallow=False):
                raise IntegrityError(f"{uri}: what came back is not what was put.")

    def _uri(self, name: str, size: int) -> str:
        return f"{self.prefix}{name.replace(', ', '-')}/{size}"

    def _remove_stored(self) -> None:
        while self._stored:
            uri, version_id = next(iter(self._stored))
            self._store.delete(uri, version_id=version_id)
            self._stored.discard((uri, version_id))

    def _remove_doubtful(self) -> None:
        for uri, mode in self._doubtful.items():
            version_id = None
            try:
                version_id = self._store.inspect(uri, mode=mode).version_id
            except ObjectNotFoundError:
                continue
            except S3CryptError:
                # Without the permission to list, S3 answers 403 for an object that does not exist.
                # Deleting it is harmless, except with versioning, where it adds a delete marker.
                if self._versioned:
                    continue
            self._store.delete(uri, version_id=version_id)
