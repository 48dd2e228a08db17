# SPDX-License-Identifier: Apache-2.0
"""Requests as lines of the AWS command line interface or of ours, quoted for a shell.

This module knows no service and no operation, and makes no request.
"""

import json
import re
import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_UPPER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def aws(service: str, operation: str, region: str | None, **arguments: Any) -> str:
    """Return the line that makes a request.

    Args:
        service: The name of the service in the command line interface, such as `s3api`.
        operation: The name of botocore's method, such as `put_bucket_policy`.
        region: The Region that is asked; None for the Region of the user's settings.
        arguments: The arguments, under the names of botocore's models.
    """
    named = arguments if region is None else {**arguments, "Region": region}
    words = [f"--{_dashed(name)} {_value(value)}" for name, value in named.items()]
    return " ".join(("aws", service, operation.replace("_", "-"), *words))


def s3crypt_keys(verb: str, key: str, *words: str) -> str:
    """Return the line of our command that changes a KMS key.

    Args:
        verb: The verb of `s3crypt keys`, such as `enable`.
        key: The key. The Region of an ARN is the Region that is asked.
        words: Further words: arguments and options.
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
