# SPDX-License-Identifier: Apache-2.0
"""Run the sandbox with one KMS key until standard input ends. commands.py runs this.

The command prints one line of JSON: the environment in which commands find the sandbox, and the
key's ARN.
"""

import json
import sys

import boto3

from s3crypt import sandbox


def main() -> None:
    """Run the sandbox until standard input ends."""
    with sandbox.running() as running:
        environment = sandbox.environment(running)
        kms = boto3.client(
            "kms",
            endpoint_url=running.endpoint_url,
            region_name=sandbox.REGION,
            aws_access_key_id="none",
            aws_secret_access_key="none",
        )
        key = kms.create_key()["KeyMetadata"]["Arn"]
        print(json.dumps({"environment": environment, "key": key}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
