# SPDX-License-Identifier: Apache-2.0
"""The policy of a KMS key: read and written.

Which statements a policy is to have is decided in `s3crypt.policy`, and whether it may be written
in `s3crypt.policy_changes`. `BypassPolicyLockoutSafetyCheck` is never sent, so that KMS keeps its
own check that a new policy leaves its author the key.
"""

from s3crypt.errors import KeyUnavailableError
from s3crypt.policy import Document
from s3crypt.requests import is_unsure

from .description import KeyReader
from .service import KMS, retold

# KMS has no other name for a key's policy.
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
        """Return the ARN of a key that is named by its id, its ARN, `alias/NAME` or an alias's ARN.

        KMS reads and writes policies by a key's id or ARN only.

        Raises:
            ConfigError: The text cannot be the name of a key.
            KeyUnavailableError: There is no such key, or KMS refused to describe it. A key that is
                named by its own ARN need not be described.
        """
        if key.startswith("arn:") and key.split(":", 5)[-1].startswith("key/"):
            return key
        return str(self._reader.metadata(key)["Arn"])

    def read_text(self, arn: str) -> str:
        """Return the policy of a key as KMS sends it.

        Raises:
            KeyUnavailableError: There is no such key, or KMS refused.
        """
        reply = self._kms.ask("get_key_policy", arn, KeyId=arn, PolicyName=_NAME)
        return str(reply["Policy"])

    def read(self, arn: str) -> Document:
        """Return the policy of a key.

        Raises:
            KeyUnavailableError: There is no such key, or KMS refused.
            ConfigError: The policy has elements that the grammar of policies does not have.
        """
        return Document.parse(self.read_text(arn))

    def write(self, arn: str, document: Document) -> None:
        """Replace the policy of a key. The caller reads it back.

        Raises:
            KeyUnavailableError: KMS refused. Where the effect of the request is not known, the
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
                "Check that its principals exist, and that it lets you change it again.",
            ) from error.__cause__
