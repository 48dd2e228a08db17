# SPDX-License-Identifier: Apache-2.0
"""The Amazon S3 Encryption Client as a peer, in its own environment, driven by standard input.

    {"do": "seal", "source": FILE, "target": FILE}      write the stored bytes; return the headers
    {"do": "connect", "endpoint_url": URL}
    {"do": "put", "source": FILE, "name": NAME}
    {"do": "get", "name": NAME, "target": FILE}

Requests and answers are one JSON object per line. The client's KMS is simulated inside this
process, so keys cost it as little as they cost a client with an AES key.
"""

import json
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from s3_encryption import S3EncryptionClient, S3EncryptionClientConfig
from s3_encryption.materials.kms_keyring import KmsKeyring

_BUCKET = "benchmark"
_KEY_ID = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"
_DATA_KEY = bytes(32)
_CREDENTIALS: dict[str, Any] = {
    "region_name": "us-east-1",
    "aws_access_key_id": "none",
    "aws_secret_access_key": "none",
}
_OK = AWSResponse("", 200, HTTPHeaders(), None)


def _answer_kms(**_: Any) -> tuple[Any, dict[str, Any]]:
    made = {"Plaintext": _DATA_KEY, "CiphertextBlob": b"wrapped", "KeyId": _KEY_ID}
    return _OK, made


def _client(endpoint_url: str) -> tuple[Any, Any]:
    kms = boto3.client("kms", **_CREDENTIALS)
    events: Any = kms.meta.events
    for operation in ("GenerateDataKey", "Encrypt", "Decrypt"):
        events.register(f"before-call.kms.{operation}", _answer_kms)
    settings = Config(s3={"payload_signing_enabled": False, "addressing_style": "path"})
    s3 = boto3.client("s3", endpoint_url=endpoint_url, config=settings, **_CREDENTIALS)
    config = S3EncryptionClientConfig(keyring=KmsKeyring(kms, _KEY_ID))
    return S3EncryptionClient(s3, config), s3


def _seal(source: str, target: str) -> dict[str, str]:
    client, s3 = _client("http://127.0.0.1")
    kept: dict[str, Any] = {}

    def keep(params: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
        kept.update(params["headers"])
        body = params["body"]
        data = body if isinstance(body, bytes | bytearray) else body.read()
        Path(target).write_bytes(data)
        return _OK, {"ETag": '"0"'}

    # This handler is registered last, so it runs after the handler that encrypts.
    s3.meta.events.register_last("before-call.s3.PutObject", keep)
    client.put_object(Bucket=_BUCKET, Key="any", Body=Path(source).read_bytes())
    return {
        name.lower(): str(value)
        for name, value in kept.items()
        if name.lower().startswith("x-amz-meta-")
    }


def main() -> None:
    """Do what the requests say, until standard input ends."""
    client: Any = None
    for line in sys.stdin:
        asked = json.loads(line)
        said: dict[str, Any] = {}
        if asked["do"] == "seal":
            said["headers"] = _seal(asked["source"], asked["target"])
        elif asked["do"] == "connect":
            client, _ = _client(asked["endpoint_url"])
        elif asked["do"] == "put":
            client.put_object(
                Bucket=_BUCKET, Key=asked["name"], Body=Path(asked["source"]).read_bytes()
            )
        else:
            reply = client.get_object(Bucket=_BUCKET, Key=asked["name"])
            Path(asked["target"]).write_bytes(reply["Body"].read())
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
