# SPDX-License-Identifier: Apache-2.0
"""Read and write the policy of a KMS key.

The package `s3crypt.policy` interprets the statements of a policy. The module
`s3crypt.policy_changes` decides whether a policy may be written. `BypassPolicyLockoutSafetyCheck`
is never sent, so KMS always checks that a new policy does not lock its author out of the key.
"""

from s3crypt.errors import KeyUnavailableError
from s3crypt.policy import Document
from s3crypt.requests import is_unsure

from .description import KeyReader
from .service import KMS, retold

# The only policy name that KMS accepts.
_NAME = "default"


class KeyPolicies:
    """Reads and writes the policies of keys.

    Args:
        kms: Makes the requests.
    """

    def __init__(self, kms: KMS) -> None:
        self._kms = kms
        self._reader = KeyReader(kms)

    def resolve(self, key: str) -> str:
        """Return the ARN of a key by its id, its ARN, `alias/NAME` or an alias's ARN.

        KMS reads and writes policies only by a key's id or ARN, not by an alias.

        Raises:
            ConfigError: The text cannot be the name of a key.
            KeyUnavailableError: The key does not exist, or KMS refused to describe it. No request
                is made for a key's own ARN.
        """
        if key.startswith("arn:") and key.split(":", 5)[-1].startswith("key/"):
            return key
        return str(self._reader.metadata(key)["Arn"])

    def read_text(self, arn: str) -> str:
        """Return the policy of a key as the text that KMS sends.

        Raises:
            KeyUnavailableError: The key does not exist, or KMS refused.
        """
        reply = self._kms.ask("get_key_policy", arn, KeyId=arn, PolicyName=_NAME)
        return str(reply["Policy"])

    def read(self, arn: str) -> Document:
        """Return the policy of a key, parsed.

        Raises:
            KeyUnavailableError: The key does not exist, or KMS refused.
            ConfigError: The policy does not follow the grammar of policies.
        """
        return Document.parse(self.read_text(arn))

    def write(self, arn: str, document: Document) -> None:
        """Replace the policy of a key. The caller should read the policy back to verify the change.

        Raises:
            KeyUnavailableError: KMS refused. If it is unknown whether the policy was replaced, the
                message says so.
        """
        text = document.render(indent=None)
        try:
            self._kms.ask("put_key_policy", arn, KeyId=arn, PolicyName=_NAME, Policy=text)
        except KeyUnavailableError as error:
            if error.code != "MalformedPolicyDocumentException" or is_unsure(error):
                raise
            raise retold(
                error,
                f"{arn}: KMS refused the policy ({error.__cause__})",
                "Check that its principals exist, and that the policy allows you to change it "
                "again.",
            ) from error.__cause__
