# SPDX-License-Identifier: Apache-2.0
"""A service that keeps the objects of several tenants apart under one KMS key.

    python examples/tenants.py s3://acme/tenants/ kms:alias/reports

The tenant is bound to each object as a pair of its encryption context. A store demands the pair of
its tenant: it refuses the object of another tenant, even if somebody copies that object to a place
where the store looks. KMS gets the pair too, so that CloudTrail records it with every use of the
key. A key policy or a grant can demand it (`kms:EncryptionContext:tenant`): then even the
credentials of one tenant's process cannot unwrap a key of another tenant.
"""

from __future__ import annotations

import sys

from s3crypt import ClientSide, IntegrityError, PolicyError, S3Crypt, S3CryptError


class Tenant:
    """The objects of one tenant below a prefix that all tenants share."""

    def __init__(self, prefix: str, key: str, tenant: str) -> None:
        if not tenant.isalnum():
            raise ValueError(f"{tenant!r} is not the name of a tenant: letters and digits only.")
        self._folder = f"{prefix}{tenant}/"
        # The context is readable in S3 and in CloudTrail: the name of a tenant must not be secret.
        self._store = S3Crypt(ClientSide(key, context={"tenant": tenant}))

    def put(self, name: str, content: bytes) -> str:
        """Store an object of this tenant, and return its URI."""
        self._store.put(content, self._folder + name)
        return self._folder + name

    def read(self, uri: str) -> bytes:
        """Return an object, after its tenant was verified.

        Raises:
            PolicyError, IntegrityError: The object is not of this tenant.
        """
        return self._store.read(uri)


def main(arguments: list[str]) -> int:
    """Show that each tenant reads its own object only; return the exit code."""
    prefix, key = arguments
    alpha, beta = Tenant(prefix, key, "alpha"), Tenant(prefix, key, "beta")
    try:
        uri = alpha.put("invoice.txt", b"alpha owes 90")
        print("alpha reads:", alpha.read(uri).decode())
        print("beta reads:", beta.read(uri).decode())
    except (PolicyError, IntegrityError) as error:
        print("beta is refused:", error)
        return 0
    except S3CryptError as error:
        print(error, error.hint or "", file=sys.stderr)
        return 2
    print("A tenant has read the object of another tenant.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
