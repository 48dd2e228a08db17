# SPDX-License-Identifier: Apache-2.0
"""Who wraps data keys. Wire forms are the AWS Encryption SDK's, so any of its keyrings opens them.

A key source of your own is a class with the four methods of `Keyring`; `AESKeyring` shows how.
Those of KMS are in `kms_keyrings`: what is here needs no AWS, and does not wait for it to load.
Source: aws-encryption-sdk-specification, framework/{raw-aes,raw-rsa,multi}-keyring.md.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from os import urandom
from typing import Any

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .caching import CachingKeyring
from .errors import ConfigError, IntegrityError, KeyUnavailableError, Remedy, S3CryptError
from .message.header import serialize_context
from .message.keys import DataKey, EncryptedDataKey, Keyring, check_keyring, unwrap_fitting
from .message.suites import IV_LENGTH, TAG_LENGTH

__all__ = ["AESKeyring", "Keyring", "MultiKeyring", "RSAKeyring", "key_names", "uncached"]

KMS_PROVIDER = "aws-kms"
# The providers of the AWS keyrings that have fixed ones; every other is the namespace of a raw key.
_ECDH_PROVIDERS = ("aws-kms-ecdh", "raw-ecdh")
_AWS_PROVIDERS = (KMS_PROVIDER, "aws-kms-rsa", "aws-kms-hierarchy", *_ECDH_PROVIDERS)
# NIST SP 800-38D 8.3: so often may one key be used with random IVs of 96 bits.
MAX_WRAPS = 2**32
INCORRECT_KEY = "IncorrectKeyException"  # KMS: wrapped by another key than the one named
# In the info of a raw AES key's EDK, between the name and the IV: bits of the tag, bytes of the IV.
_AES_PARAMETERS = struct.pack(">II", TAG_LENGTH * 8, IV_LENGTH)
UNOPENED = "No key given opens this data key: it is wrapped by another key, or was changed."


def key_names(edks: Sequence[EncryptedDataKey]) -> tuple[str, ...]:
    """Return the names of the keys that wrapped these data keys.

    A key that a keyring here can be is named as on the command line: `kms:ARN`,
    `aes:NAMESPACE/NAME` or `rsa:NAMESPACE/NAME`. A key of another AWS keyring is named by its
    provider (`aws-kms-hierarchy:BRANCH`, `raw-ecdh:HEX`), any other is `unknown:PROVIDER/INFO`.

    Headers are anyone's bytes, and names are shown on terminals: characters that do not print
    are replaced.
    """
    return tuple(_printable(_key_name(edk)) for edk in edks)


def reading_remedy(names: Sequence[str]) -> Remedy:
    """Return the remedy for a client-side object that was read without a keyring."""
    usable = tuple(name for name in names if name.startswith(("kms:", "aes:", "rsa:")))
    if usable:
        return Remedy("read_with_key", key=usable)
    return Remedy("read_with_its_tool", key=tuple(names))


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _key_name(edk: EncryptedDataKey) -> str:
    text = edk.info.decode(errors="replace")
    if edk.provider == KMS_PROVIDER:
        return f"kms:{text}"
    if edk.provider in _ECDH_PROVIDERS:
        return f"{edk.provider}:{_recipient(edk.info).hex()}"
    if edk.provider in _AWS_PROVIDERS:
        return f"{edk.provider}:{text}"
    if len(edk.info) > 20 and edk.info[-20:-IV_LENGTH] == _AES_PARAMETERS:
        return f"aes:{edk.provider}/{edk.info[:-20].decode(errors='replace')}"
    if _may_be_rsa(edk):
        return f"rsa:{edk.provider}/{text}"
    return f"unknown:{edk.provider}/{text if _is_text(edk.info) else edk.info.hex()}"


def _recipient(info: bytes) -> bytes:
    """Return the recipient's public key in an ECDH keyring's info, or all of an info without one.

    The info is a version, 01, then the recipient's and the sender's public key, each behind its
    four-byte length.
    """
    end = 5 + int.from_bytes(info[1:5])
    return info[5:end] if info[:1] == b"\x01" and 5 < end < len(info) else info


def _may_be_rsa(edk: EncryptedDataKey) -> bool:
    # An RSA key's EDK has no mark of its own. Its info is a name, and its ciphertext as long as
    # the modulus: of 1024 to 16384 bits.
    return 128 <= len(edk.ciphertext) <= 2048 and _is_text(edk.info)


def _is_text(info: bytes) -> bool:
    try:
        return bool(info) and info.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _check_name(namespace: str, name: str) -> None:
    if not namespace or not name:
        raise ConfigError("A key needs a namespace and a name.")
    if namespace in _AWS_PROVIDERS:
        raise ConfigError(f"{namespace!r} is AWS's own namespace.", hint="Use one of your own.")


@dataclass(frozen=True)
class AESKeyring:
    """Wraps data keys with an AES-GCM key that the caller holds.

    Attributes:
        namespace: Whose key it is; stored in every message, in the clear.
        name: Which key it is; stored likewise. A new key needs a new name.
        key_bytes: 16, 24 or 32 random bytes.

    A key wraps at most 2**32 data keys, by all of its writers together, because its IVs are
    random. The wrappings of this keyring in this process are counted, and more are refused.
    """

    namespace: str
    name: str
    key_bytes: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_name(self.namespace, self.name)
        if not isinstance(self.key_bytes, bytes | bytearray):
            raise ConfigError("The key of an AESKeyring is bytes.")
        if len(self.key_bytes) not in (16, 24, 32):
            raise ConfigError(f"An AES key has 16, 24 or 32 bytes, not {len(self.key_bytes)}.")
        # One step of a counter cannot be cut in two by another thread. No field, for code that
        # walks a data class's fields, as Dask does.
        self.__dict__["_wraps"] = count(1)

    def __reduce__(self) -> tuple[Any, ...]:
        # A cipher cannot be pickled.
        return AESKeyring, (self.namespace, self.name, self.key_bytes)

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a new data key, wrapped."""
        plaintext = urandom(length)
        return DataKey(plaintext, self.wrap(plaintext, context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key sealed under this key, its context authenticated.

        Raises:
            ConfigError: This keyring has wrapped 2**32 data keys.
        """
        if next(self.__dict__["_wraps"]) > MAX_WRAPS:
            raise ConfigError(
                f"The key aes:{self.namespace}/{self.name} has wrapped {MAX_WRAPS} data keys, "
                "as many as one AES key may.",
                hint="Make a new key with a new name; the old one goes on reading.",
            )
        iv = urandom(IV_LENGTH)
        sealed = self._cipher.encrypt(iv, data_key, serialize_context(context))
        return (EncryptedDataKey(self.namespace, self._info() + iv, sealed),)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first EDK of this name that opens."""
        aad = serialize_context(context)
        for edk in filter(self.opens, edks):
            try:
                data_key = self._cipher.decrypt(edk.info[-IV_LENGTH:], edk.ciphertext, aad)
            except InvalidTag:
                continue
            if len(data_key) == length:
                return data_key
        raise _failure(edks, named=any(map(self.opens, edks)))

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Tell whether the one EDK has this namespace and name."""
        return len(edks) == 1 and self.opens(edks[0])

    def opens(self, edk: EncryptedDataKey) -> bool:
        """Return whether the EDK has this namespace and name."""
        info = self._info()
        return (
            edk.provider == self.namespace
            and edk.info.startswith(info)
            and len(edk.info) == len(info) + IV_LENGTH
        )

    @cached_property
    def _cipher(self) -> AESGCM:
        # Made once: setting a key up takes as long as wrapping with it. No field either.
        return AESGCM(self.key_bytes)

    def _info(self) -> bytes:
        return self.name.encode() + _AES_PARAMETERS


def names_hint(edks: Sequence[EncryptedDataKey]) -> str:
    """Return the hint that names the keys of a header, the first few."""
    return f"The header names {', '.join(name[:200] for name in key_names(edks[:4]))}."


def not_named(
    edks: Sequence[EncryptedDataKey], *, said: S3CryptError | None = None
) -> S3CryptError:
    """Return the error for EDKs none of which is for the keyring; `said` is KMS's word on it."""
    error = KeyUnavailableError(
        "No key given is one of the message's keys.",
        hint=names_hint(edks),
        code=said.code if said else None,
        request_id=said.request_id if said else None,
    )
    error.__cause__ = said.__cause__ if said else None
    return error


def _failure(edks: Sequence[EncryptedDataKey], *, named: bool) -> S3CryptError:
    return IntegrityError(UNOPENED, hint=names_hint(edks)) if named else not_named(edks)


def heavier(first: S3CryptError | None, second: S3CryptError) -> S3CryptError:
    """Return which of two failures to report: the first of the heavier kind.

    A key that is denied, disabled or out of reach is for its owner to mend; it outweighs an EDK
    that does not open, and that outweighs an EDK of another key.
    """
    return second if first is None or _weight(second) > _weight(first) else first


def _weight(error: S3CryptError) -> int:
    if isinstance(error, IntegrityError):
        return 1
    return 0 if error.code == INCORRECT_KEY else 2


def _oaep(algorithm: hashes.HashAlgorithm) -> rsa_padding.OAEP:
    return rsa_padding.OAEP(rsa_padding.MGF1(algorithm), algorithm, None)


_RSA_PADDINGS: dict[str, Callable[[], rsa_padding.AsymmetricPadding]] = {
    "OAEP-SHA256": lambda: _oaep(hashes.SHA256()),
    "OAEP-SHA384": lambda: _oaep(hashes.SHA384()),
    "OAEP-SHA512": lambda: _oaep(hashes.SHA512()),
    # Both for reading what other writers left behind.
    "OAEP-SHA1": lambda: _oaep(hashes.SHA1()),  # noqa: S303 - no collision resistance is needed
    "PKCS1": rsa_padding.PKCS1v15,
}


@dataclass(frozen=True, slots=True)
class RSAKeyring:
    """Wraps data keys with an RSA public key and unwraps them with its private key.

    The encryption context is not bound to the wrapped key (RSA has no place for it); it stays
    bound to the message by the header's tag. Nothing says who wrote a message: the public key,
    which may be anyone's, suffices to write one.

    Attributes:
        namespace: Whose key it is; stored in every message, in the clear.
        name: Which key it is; stored likewise.
        public: PEM of the public key; left out, it is the private key's.
        private: PEM of the unencrypted private key; left out, nothing can be unwrapped.
        padding: `OAEP-SHA256`, `OAEP-SHA384`, `OAEP-SHA512`; `OAEP-SHA1` and `PKCS1` too.
    """

    namespace: str
    name: str
    public: bytes | None = None
    private: bytes | None = field(default=None, repr=False)
    padding: str = "OAEP-SHA256"
    _encryptor: rsa.RSAPublicKey = field(init=False, repr=False, compare=False)
    _decryptor: rsa.RSAPrivateKey | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_name(self.namespace, self.name)
        if self.padding not in _RSA_PADDINGS:
            raise ConfigError(
                f"Unknown RSA padding {self.padding!r}.", hint=f"One of {', '.join(_RSA_PADDINGS)}."
            )
        if self.public is None and self.private is None:
            raise ConfigError("An RSA keyring needs a public or a private key.")
        decryptor = _load_private(self.private) if self.private is not None else None
        if self.public is not None:
            encryptor = _load_public(self.public)
        elif decryptor is not None:
            encryptor = decryptor.public_key()
        if decryptor is not None and encryptor != decryptor.public_key():
            raise ConfigError("The public and the private key are not of one pair.")
        object.__setattr__(self, "_decryptor", decryptor)
        object.__setattr__(self, "_encryptor", encryptor)

    def __reduce__(self) -> tuple[Any, ...]:
        # What is loaded of the PEM cannot be pickled.
        make = partial(RSAKeyring, public=self.public, private=self.private, padding=self.padding)
        return make, (self.namespace, self.name)

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a new data key, wrapped."""
        plaintext = urandom(length)
        return DataKey(plaintext, self.wrap(plaintext, context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key encrypted with the public key."""
        del context  # RSA binds none; the header's tag does.
        try:
            sealed = self._encryptor.encrypt(data_key, _RSA_PADDINGS[self.padding]())
        except ValueError:
            raise ConfigError(
                f"A data key does not fit this RSA key with {self.padding}.",
                hint="Use a key of 2048 bits or more.",
            ) from None
        return (EncryptedDataKey(self.namespace, self.name.encode(), sealed),)

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the one data key of this length that the EDKs of this name decrypt to.

        PKCS #1 v1.5 answers a failure with random bytes, in one case of some 250 of the right
        length. Where a message can prove the key, `unwrap_fitting` is asked instead.

        Raises:
            IntegrityError: No EDK of this name decrypts to such a key, or two to different ones.
            KeyUnavailableError: No EDK has this name, or the private key is not here.
        """
        del context
        decryptor = self._for(edks)
        decrypted = (self._decrypt(decryptor, edk) for edk in edks if self.opens(edk))
        data_keys = {data_key for data_key in decrypted if len(data_key) == length}
        if len(data_keys) != 1:
            raise IntegrityError(UNOPENED, hint=names_hint(edks))
        return data_keys.pop()

    def unwrap_fitting(
        self,
        edks: Sequence[EncryptedDataKey],
        context: Mapping[str, str],
        length: int,
        fits: Callable[[bytes], bool],
    ) -> bytes:
        """Return the data key that fits, from the first EDK of this name that has it.

        An EDK that does not decrypt to a key of this length yields a random key, which is tried
        like any other: neither the error nor the steps before it say why none fitted.
        """
        del context
        decryptor = self._for(edks)
        for edk in filter(self.opens, edks):
            substitute = urandom(length)
            data_key = self._decrypt(decryptor, edk)
            candidate = data_key if len(data_key) == length else substitute
            if fits(candidate):
                return candidate
        raise IntegrityError(UNOPENED, hint=names_hint(edks))

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Tell whether the one EDK has this namespace and name."""
        return len(edks) == 1 and self.opens(edks[0])

    def opens(self, edk: EncryptedDataKey) -> bool:
        """Return whether the EDK has this namespace and name."""
        return (edk.provider, edk.info) == (self.namespace, self.name.encode())

    def _for(self, edks: Sequence[EncryptedDataKey]) -> rsa.RSAPrivateKey:
        """Return the private key, for EDKs of which one is of this name."""
        if not any(map(self.opens, edks)):
            raise not_named(edks)
        if self._decryptor is None:
            raise KeyUnavailableError(
                f"The private key of rsa:{self.namespace}/{self.name} is not here.",
                hint="Give a PEM file with the private key.",
            )
        return self._decryptor

    def _decrypt(self, decryptor: rsa.RSAPrivateKey, edk: EncryptedDataKey) -> bytes:
        """Return the decrypted bytes, or none where the padding or the ciphertext is wrong."""
        try:
            return decryptor.decrypt(edk.ciphertext, _RSA_PADDINGS[self.padding]())
        except ValueError:
            return b""


def _load_private(pem: bytes) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError("Not the PEM of an unencrypted RSA private key.") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigError("The private key is not an RSA key.")
    return key


def _load_public(pem: bytes) -> rsa.RSAPublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("Not the PEM of an RSA public key.") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise ConfigError("The public key is not an RSA key.")
    return key


def uncached(keyring: Keyring) -> Keyring:
    """Return the keyring that wraps, without the cache that may stand before it."""
    return keyring.keyring if isinstance(keyring, CachingKeyring) else keyring


class MultiKeyring:
    """Wraps each data key under several keys; any one of them opens it again.

    Args:
        generator: Generates the data key.
        others: Wrap the same data key too, in this order.

    Keys at hand (`AESKeyring`, `RSAKeyring`) are tried before any other keyring is asked to
    unwrap, whatever their order.
    """

    def __init__(self, generator: Keyring, *others: Keyring) -> None:
        for keyring in (generator, *others):
            check_keyring(keyring)
        # Flat, so that each keyring wraps one data key: nested ones mean the same.
        self.keyrings: tuple[Keyring, ...] = tuple(
            inner
            for keyring in (generator, *others)
            for inner in (keyring.keyrings if isinstance(keyring, MultiKeyring) else (keyring,))
        )
        self._in_turn = sorted(self.keyrings, key=_is_remote)
        if any(isinstance(keyring, CachingKeyring) for keyring in self.keyrings):
            # The other keyrings would wrap each message's data key anew, cached or not.
            raise ConfigError(
                "A CachingKeyring cannot be one keyring of several.",
                hint="Cache them together: CachingKeyring(MultiKeyring(...), max_age=...).",
            )

    def __repr__(self) -> str:
        return f"MultiKeyring({', '.join(map(repr, self.keyrings))})"

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a data key of the generator, wrapped by every keyring."""
        data_key = self.keyrings[0].generate(length, context, plaintext_length=plaintext_length)
        others = [
            edk
            for keyring in self.keyrings[1:]
            for edk in keyring.wrap(data_key.plaintext, context)
        ]
        return DataKey(data_key.plaintext, (*data_key.edks, *others))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Return the data key wrapped by every keyring."""
        return tuple(edk for keyring in self.keyrings for edk in keyring.wrap(data_key, context))

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Return the data key from the first keyring that opens one.

        A keyring that cannot be asked (denied, unreachable, no credentials) keeps none of the
        others from being asked; what it said is raised only if no other opens the data key.
        """
        return self._first(edks, lambda keyring: keyring.unwrap(edks, context, length))

    def unwrap_fitting(
        self,
        edks: Sequence[EncryptedDataKey],
        context: Mapping[str, str],
        length: int,
        fits: Callable[[bytes], bool],
    ) -> bytes:
        """Return the data key that fits, from the first keyring that has it.

        As with `unwrap`, a keyring that cannot be asked keeps none of the others from being asked.
        """
        return self._first(
            edks, lambda keyring: unwrap_fitting(keyring, edks, context, length, fits)
        )

    def _first(self, edks: Sequence[EncryptedDataKey], ask: Callable[[Keyring], bytes]) -> bytes:
        failure: S3CryptError | None = None
        for keyring in self._in_turn:
            # A keyring of the caller's own need not say beforehand which EDKs are for it.
            opens: Callable[[EncryptedDataKey], bool] | None = getattr(keyring, "opens", None)
            try:
                if opens is not None and not any(map(opens, edks)):
                    continue
                return ask(keyring)
            except S3CryptError as error:
                failure = heavier(failure, error)
        raise failure or not_named(edks)

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Tell whether each EDK is of one keyring and each keyring has one, in this order."""
        return len(edks) == len(self.keyrings) and all(
            keyring.wrote([edk]) for keyring, edk in zip(self.keyrings, edks, strict=True)
        )


def has_pkcs1(keyring: Keyring) -> bool:
    """Return whether a keyring, or one inside it, unwraps RSA's PKCS #1 v1.5.

    A wrong key comes of that without an error, so that a caller who cannot prove it must not ask.
    """
    if isinstance(keyring, MultiKeyring):
        return any(map(has_pkcs1, keyring.keyrings))
    if isinstance(keyring, CachingKeyring):
        return has_pkcs1(keyring.keyring)
    return isinstance(keyring, RSAKeyring) and keyring.padding == "PKCS1"


def _is_remote(keyring: Keyring) -> bool:
    # KMS's are requests; those of the caller's own may be.
    return not isinstance(keyring, AESKeyring | RSAKeyring)
