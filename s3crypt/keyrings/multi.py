# SPDX-License-Identifier: Apache-2.0
"""Several keyrings as one: each wraps every data key, and any of them opens it.

Source: aws-encryption-sdk-specification, framework/multi-keyring.md.
"""

from collections.abc import Callable, Mapping, Sequence

from s3crypt.errors import ConfigError, S3CryptError
from s3crypt.message.keys import DataKey, EncryptedDataKey, Keyring, check_keyring, unwrap_fitting

from .capabilities import caches_data_keys, is_local, may_open, needs_proof
from .edks import heavier, not_named


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
        self._in_turn = sorted(self.keyrings, key=is_local, reverse=True)
        if any(map(caches_data_keys, self.keyrings)):
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
        others from being asked; its error is raised only if no other opens the data key.
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
            try:
                if may_open(keyring, edks):
                    return ask(keyring)
            except S3CryptError as error:
                failure = heavier(failure, error)
        raise failure or not_named(edks)

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether each EDK is of one keyring and each keyring has one, in this order."""
        return len(edks) == len(self.keyrings) and all(
            keyring.wrote([edk]) for keyring, edk in zip(self.keyrings, edks, strict=True)
        )

    def with_inner(self, change: Callable[[Keyring], Keyring]) -> "MultiKeyring":
        """Return a keyring of the changed keyrings, or this one if none of them changes."""
        inner = tuple(map(change, self.keyrings))
        if all(new is old for new, old in zip(inner, self.keyrings, strict=True)):
            return self
        return MultiKeyring(*inner)

    @property
    def needs_proof(self) -> bool:
        """Whether a keyring of these may return a wrong data key without an error."""
        return any(map(needs_proof, self.keyrings))
