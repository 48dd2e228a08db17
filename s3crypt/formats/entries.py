# SPDX-License-Identifier: Apache-2.0
"""The S3 metadata entries of messages, and a keyring that stores the object key in these entries.

    s3crypt-header-length   bytes before the first frame        } hints: with these a HEAD shows
    s3crypt-frame-length    plaintext bytes of a frame          } the plaintext's size; compared
    s3crypt-footer-length   bytes after the final frame         } with the header on reading
    s3crypt-edks            the object key, wrapped: JSON list of provider, info, ciphertext
    s3crypt-context         the encryption context that the object key is wrapped under, as JSON
    s3crypt-material        the ids of the KMS key material that wrapped the object key, if known
    s3crypt-digest          a keyed digest of the plaintext, for comparisons: see `digests`

`s3crypt-edks`, `s3crypt-context` and `s3crypt-material` exist only with `key_location="metadata"`.
The message's header then has one EDK: the data key wrapped by a raw AES key that was generated for
this object (the *object key*). When the keys that wrap the object key are changed, only the
metadata changes. The header of a message is never rewritten.

`s3crypt-material` has one id per wrapped key, in the order of `s3crypt-edks`, separated by commas.
The id is empty if it is unknown. The entry is not authenticated. It is only for reports: reading an
object does not depend on it.

With a `CachingKeyring`, objects with the same context share an object key, and the object key wraps
a separate data key for each object. These wrappings use random IVs. NIST SP 800-38D 8.3 limits
random IVs to 2**32 under one key, and a cached key never serves more messages than this.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from s3crypt.errors import ConfigError, FormatError, IntegrityError, KeyUnavailableError
from s3crypt.keyrings import AESKeyring
from s3crypt.keyrings.materials import is_material_id
from s3crypt.message import MAX_EDKS, DataKey, EncryptedDataKey, Header, Keyring
from s3crypt.message.frames import SIGNATURE_LENGTH
from s3crypt.message.geometry import Geometry
from s3crypt.message.keys import HEADER_FAILED, unwrap_fitting

HEADER_LENGTH = "s3crypt-header-length"
FRAME_LENGTH = "s3crypt-frame-length"
FOOTER_LENGTH = "s3crypt-footer-length"
EDKS = "s3crypt-edks"
CONTEXT = "s3crypt-context"
MATERIAL = "s3crypt-material"

# The header's only EDK names this raw AES key. Any AWS Encryption SDK can open the message with the
# unwrapped object key.
OBJECT_KEY = ("s3crypt", "object-key")
OBJECT_KEY_LENGTH = 32


class ObjectKeyring:
    """A keyring that wraps data keys with an object key, and the object key with another keyring.

    Args:
        keyring: The keyring that wraps the object key.
        wrapped: The wrapped object key of an existing object. Empty for a new object.
    """

    def __init__(self, keyring: Keyring, wrapped: Sequence[EncryptedDataKey] = ()) -> None:
        self._keyring = keyring
        self.wrapped = tuple(wrapped)

    def generate(
        self, length: int, context: Mapping[str, str], *, plaintext_length: int | None = None
    ) -> DataKey:
        """Generate an object key, and return a data key wrapped by it.

        The wrapped object key is then in `wrapped`.
        """
        object_key = self._keyring.generate(
            OBJECT_KEY_LENGTH, context, plaintext_length=plaintext_length
        )
        self.wrapped = object_key.edks
        return AESKeyring(*OBJECT_KEY, object_key.plaintext).generate(length, context)

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
        """Raise a ConfigError: an object key wraps only the data key of its own object."""
        raise ConfigError("An object key wraps the data key of its own object only.")

    def unwrap(
        self, edks: Sequence[EncryptedDataKey], context: Mapping[str, str], length: int
    ) -> bytes:
        """Unwrap the object key, and return the data key that the object key unwraps."""
        return self.unwrap_fitting(edks, context, length, lambda _: True)

    def unwrap_fitting(
        self,
        edks: Sequence[EncryptedDataKey],
        context: Mapping[str, str],
        length: int,
        fits: Callable[[bytes], bool],
    ) -> bytes:
        """Return a data key for which `fits` is true.

        `wrapped` may contain several object keys. Each of them is tried.
        """
        opened: list[bytes] = []

        def opens(object_key: bytes) -> bool:
            if len(object_key) != OBJECT_KEY_LENGTH:
                return False
            try:
                data_key = AESKeyring(*OBJECT_KEY, object_key).unwrap(edks, context, length)
            except (IntegrityError, KeyUnavailableError):
                return False
            if fits(data_key):
                opened.append(data_key)
            return bool(opened)

        unwrap_fitting(self._keyring, self.wrapped, context, OBJECT_KEY_LENGTH, opens)
        if not opened:
            raise IntegrityError(HEADER_FAILED)
        return opened[0]

    def wrote(self, edks: Sequence[EncryptedDataKey]) -> bool:
        """Return whether an object key wrapped the header's only EDK."""
        return len(edks) == 1 and edks[0].provider == OBJECT_KEY[0]


def described(header: Header, keyring: ObjectKeyring | None) -> dict[str, str]:
    """Return the metadata entries of a new object.

    `keyring` is None if the header contains the data key's EDKs.
    """
    entries = _lengths(header)
    if keyring:
        entries[EDKS] = dump_edks(keyring.wrapped)
        entries[CONTEXT] = json.dumps(dict(header.context), separators=(",", ":"))
    return entries


def _lengths(header: Header) -> dict[str, str]:
    return {
        HEADER_LENGTH: str(len(header)),
        FRAME_LENGTH: str(header.frame_length),
        FOOTER_LENGTH: str(2 + SIGNATURE_LENGTH if header.suite.curve else 0),
    }


def recorded_geometry(metadata: Mapping[str, str]) -> tuple[Geometry, int] | None:
    """Return the frames' geometry and the footer's length from an object's metadata.

    Return None if an entry is missing or is not a valid length. The values are not verified.
    """
    texts = [metadata.get(name, "") for name in (HEADER_LENGTH, FRAME_LENGTH, FOOTER_LENGTH)]
    # No length has 12 digits. The limit also keeps int() from parsing a very long text of an
    # untrusted writer.
    if not all(text.isascii() and text.isdigit() and len(text) < 12 for text in texts):
        return None
    header_length, frame_length, footer_length = map(int, texts)
    return (Geometry(header_length, frame_length), footer_length) if frame_length else None


def check_recorded(metadata: Mapping[str, str], header: Header) -> None:
    """Refuse metadata whose lengths differ from the header's lengths.

    Listings compute the sizes of objects from the metadata, so a wrong length would be a wrong
    size.

    Raises:
        IntegrityError: A length differs.
    """
    for name, length in _lengths(header).items():
        if metadata.get(name, length) != length:
            raise IntegrityError(
                f"The object's {name} metadata is {metadata[name]!r}; its header says {length}.",
                hint="Its metadata or its body was replaced. Put it again.",
            )


def dump_edks(edks: Sequence[EncryptedDataKey]) -> str:
    """Return wrapped keys as one line of ASCII text."""
    entries = [
        {
            "provider": edk.provider,
            "info": b64encode(edk.info).decode(),
            "ciphertext": b64encode(edk.ciphertext).decode(),
        }
        for edk in edks
    ]
    return json.dumps(entries, separators=(",", ":"))


def dump_materials(edks: Sequence[EncryptedDataKey]) -> dict[str, str]:
    """Return the metadata entry with the ids of the key material of these EDKs.

    Return {} if no EDK has an id.
    """
    ids = (edk.material_id or "" for edk in edks)
    text = ",".join(text if is_material_id(text) else "" for text in ids).rstrip(",")
    return {MATERIAL: text} if text else {}


def _load_materials(metadata: Mapping[str, str], count: int) -> list[str | None]:
    """Return the recorded material id of each EDK. The id is None for an EDK without a valid id."""
    found = metadata.get(MATERIAL, "").split(",")
    if len(found) > count:
        # The entry belongs to other EDKs.
        found = []
    ids = [text if is_material_id(text) else None for text in found]
    return [*ids, *[None] * (count - len(ids))]


def load_edks(metadata: Mapping[str, str]) -> tuple[EncryptedDataKey, ...]:
    """Return the wrapped object key in an object's metadata.

    Return () if there is no such entry: then the header contains the wrapped data key.

    The ids of key material are not verified. An id that is not valid is ignored.

    Raises:
        FormatError: The entry does not have the form that `dump_edks` writes, or has too many keys.
    """
    if EDKS not in metadata:
        return ()
    try:
        edks = tuple(
            EncryptedDataKey(
                str(entry["provider"]),
                b64decode(entry["info"], validate=True),
                b64decode(entry["ciphertext"], validate=True),
            )
            for entry in json.loads(metadata[EDKS])
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        raise FormatError(f"The object's {EDKS} metadata is malformed.") from None
    if not 0 < len(edks) <= MAX_EDKS:
        raise FormatError(f"The object's {EDKS} metadata has {len(edks)} keys.")
    if MATERIAL not in metadata:
        return edks
    ids = _load_materials(metadata, len(edks))
    return tuple(
        replace(edk, material_id=material_id) for edk, material_id in zip(edks, ids, strict=True)
    )


def load_context(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the encryption context in an object's metadata.

    Raises:
        FormatError: The entry is missing, or is not a JSON object with text values.
    """
    try:
        context = json.loads(metadata[CONTEXT])
    except (ValueError, KeyError, RecursionError):
        raise FormatError(f"The object's {CONTEXT} metadata is malformed.") from None
    if not isinstance(context, dict) or not all(isinstance(v, str) for v in context.values()):
        raise FormatError(f"The object's {CONTEXT} metadata is malformed.")
    return context
