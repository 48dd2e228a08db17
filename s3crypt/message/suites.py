# SPDX-License-Identifier: Apache-2.0
"""The eleven algorithm suites of the AWS Encryption SDK, by their ids in a header.

Source: aws-encryption-sdk-specification, framework/algorithm-suites.md and commitment-policy.md.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

IV_LENGTH = 12
TAG_LENGTH = 16
COMMITMENT_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Suite:
    """An AES-GCM suite: its key size, key derivation, key commitment and signature.

    Attributes:
        id: The two-byte id in the header.
        key_length: The length in bytes of the data key and of the content key.
        kdf: The hash of HKDF. None if the data key itself is the content key.
        committing: Whether the header commits to the data key.
        curve: The elliptic curve of the message's signature. None for a suite without signature.
    """

    id: int
    key_length: int
    kdf: hashes.HashAlgorithm | None
    committing: bool = False
    curve: ec.EllipticCurve | None = None

    @property
    def name(self) -> str:
        """Return the id as specifications write it, such as `0x0478`."""
        return f"0x{self.id:04x}"

    @property
    def version(self) -> int:
        """Return the version of the message format in which this suite is used."""
        return 2 if self.committing else 1

    @property
    def message_id_length(self) -> int:
        """Return the length of a message id in bytes.

        A committing suite uses the id as the HKDF salt, too.
        """
        return 32 if self.committing else 16

    @property
    def signature_hash(self) -> hashes.HashAlgorithm:
        """Return the hash of the suite's ECDSA signature."""
        return hashes.SHA256() if isinstance(self.curve, ec.SECP256R1) else hashes.SHA384()

    def derive(self, data_key: bytes, message_id: bytes) -> tuple[bytes, bytes]:
        """Return the content key and the commitment.

        The commitment is empty if the suite has none.
        """
        suite_id = self.id.to_bytes(2)
        if self.kdf is None:
            return data_key, b""
        if not self.committing:
            info = suite_id + message_id
            return HKDF(self.kdf, self.key_length, None, info).derive(data_key), b""
        # Both expansions use the same extracted secret. The salt is the random message id, so each
        # message has its own content key even if messages share a data key.
        secret = HMAC(HKDF.extract(self.kdf, message_id, data_key), self.kdf)
        content_key = _expand(secret, suite_id + b"DERIVEKEY")[: self.key_length]
        return content_key, _expand(secret, b"COMMITKEY")[:COMMITMENT_LENGTH]


def _expand(secret: HMAC, info: bytes) -> bytes:
    # The first block of HKDF (RFC 5869 section 2.3) is longer than any key. HKDFExpand is not used
    # because it would initialise the HMAC for each of the two expansions. This would take 10 % of
    # the time of a short message.
    block = secret.copy()
    block.update(info + b"\x01")
    return block.finalize()


COMMITTING = Suite(0x0478, 32, hashes.SHA512(), committing=True)
COMMITTING_SIGNED = Suite(0x0578, 32, hashes.SHA512(), committing=True, curve=ec.SECP384R1())

SUITES = {
    suite.id: suite
    for suite in (
        Suite(0x0014, 16, None),
        Suite(0x0046, 24, None),
        Suite(0x0078, 32, None),
        Suite(0x0114, 16, hashes.SHA256()),
        Suite(0x0146, 24, hashes.SHA256()),
        Suite(0x0178, 32, hashes.SHA256()),
        Suite(0x0214, 16, hashes.SHA256(), curve=ec.SECP256R1()),
        Suite(0x0346, 24, hashes.SHA384(), curve=ec.SECP384R1()),
        Suite(0x0378, 32, hashes.SHA384(), curve=ec.SECP384R1()),
        COMMITTING,
        COMMITTING_SIGNED,
    )
}
"""The algorithm suites that s3crypt reads, by id."""
