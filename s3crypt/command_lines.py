# SPDX-License-Identifier: Apache-2.0
"""Requests as command lines of the AWS CLI or of s3crypt, quoted for a shell.

This module does not know services or operations, and makes no request.
"""

import json
import re
import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_UPPER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def aws(service: str, operation: str, region: str | None, **arguments: Any) -> str:
    """Return the command line of the AWS CLI that makes a request.

    Args:
        service: The name of the service in the command line interface, such as `s3api`.
        operation: The name of botocore's method, such as `put_bucket_policy`.
        region: The Region to which the request is sent. None for the Region in the user's settings.
        arguments: The arguments, with the names in botocore's models.
    """
    named = arguments if region is None else {**arguments, "Region": region}
    words = [f"--{_dashed(name)} {_value(value)}" for name, value in named.items()]
    return " ".join(("aws", service, operation.replace("_", "-"), *words))


def s3crypt_keys(verb: str, key: str, *words: str) -> str:
    """Return the command line of s3crypt that changes a KMS key.

    Args:
        verb: The subcommand of `s3crypt keys`, such as `enable`.
        key: The key. If it is an ARN, its Region is used.
        words: Further words of the command line: arguments and options.
    """
    return shlex.join(("s3crypt", "keys", verb, key, *words))


def _dashed(name: str) -> str:
    return _UPPER.sub("-", name).lower()


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=_plain)
    return shlex.quote(text)


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise AssertionError("unreachable: requests are made of JSON's types and times")
