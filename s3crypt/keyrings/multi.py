# SPDX-License-Identifier: Apache-2.0
"""Several keyrings as one: all of them wrap each data key, and any of them can unwrap it.

Source: aws-encryption-sdk-specification, framework/multi-keyring.md.
"""

from collections.abc import Callable, Mapping, Sequence

from s3crypt.errors import ConfigError, S3CryptError
from s3crypt.message.keys import DataKey, EncryptedDataKey, Keyring, check_keyring, unwrap_fitting

from .capabilities import caches_data_keys, is_local, may_open, needs_proof
from .edks import heavier, not_named


class MultiKeyring:
    """Wraps each data key with several keyrings. Any one of these keyrings can unwrap it.

    Args:
        generator: The keyring that generates the data key and wraps it first.
        others: Further keyrings that wrap the same data key, in this order.

    Raises:
        ConfigError: One of the keyrings is a `CachingKeyring`. Cache the `MultiKeyring` instead.

    For unwrapping, local keyrings (`AESKeyring`, `RSAKeyring`) are tried before keyrings that make
    requests, regardless of the order of the arguments.
    """

    def __init__(self, generator: Keyring, *others: Keyring) -> None:
        for keyring in (generator, *others):
            check_keyring(keyring)
        # Nested MultiKeyrings are flattened, so `wrote` can compare one EDK per keyring.
        self.keyrings: tuple[Keyring, ...] = tuple(
            inner
            for keyring in (generator, *others)
            for inner in (keyring.keyrings if isinstance(keyring, MultiKeyring) else (keyring,))
        )
        self._in_turn = sorted(self.keyrings, key=is_local, reverse=True)
        if any(map(caches_data_keys, self.keyrings)):
            # If only one keyring cached the data key, the other keyrings would still make a request
            # for each message.
            raise ConfigError(
                "A CachingKeyring cannot be part of a MultiKeyring.",
                hint="Cache them together: CachingKeyring(MultiKeyring(...), max_age=...).",
            )

    def __repr__(self) -> str:
        return f"MultiKeyring({', '.join(map(repr, self.keyrings))})"

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Return a data key of the first keyring, wrapped by every keyring."""
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
        """Return the data key from the first keyring that can unwrap an EDK.

        If a keyring fails (denied, unreachable, no credentials), the next keyring is tried. The
        most important error is raised only if no keyring can unwrap the data key.
        """
        return self._first(edks, lambda keyring: keyring.unwrap(edks, context, length))

    def unwrap_fitting(
        self,
        edks: Sequence[EncryptedDataKey],
        context: Mapping[str, str],
        length: int,
        fits: Callable[[bytes], bool],
    ) -> bytes:
        """Return the data key for which `fits` is true, from the first keyring that can unwrap it.

        If a keyring fails, the next keyring is tried, as in `unwrap`.
        """
        return self._first(
            edks, lambda keyring: unwrap_fitting(keyring, edks, context, length, fits)
        )

    def _first(self, edks: Sequence[EncryptedDataKey], ask: Callable[[Keyring], bytes]) -> bytes:
        failure: S3CryptError | None = None
        for keyring in self._in_turn:
            try:
                if may_open(keyring, edks):
                    return ask(keyring)
            except S3CryptError as error:
                failure = heavier(failure, error)
        raise failure or not_named(edks)

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether each keyring wrapped one EDK, in the order of the keyrings."""
        return len(edks) == len(self.keyrings) and all(
            keyring.wrote([edk]) for keyring, edk in zip(self.keyrings, edks, strict=True)
        )

    def with_inner(self, change: Callable[[Keyring], Keyring]) -> "MultiKeyring":
        """Return a copy with the changed keyrings. If all are unchanged, return this keyring."""
        inner = tuple(map(change, self.keyrings))
        if all(new is old for new, old in zip(inner, self.keyrings, strict=True)):
            return self
        return MultiKeyring(*inner)

    @property
    def needs_proof(self) -> bool:
        """Whether any of the keyrings may return a wrong data key without an error."""
        return any(map(needs_proof, self.keyrings))
