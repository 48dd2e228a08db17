# SPDX-License-Identifier: Apache-2.0
"""Requests as lines of the AWS command line interface, quoted for a shell."""

import json
import re
import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from s3crypt.buckets.settings import Setting

_UPPER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def aws(service: str, operation: str, region: str, **arguments: Any) -> str:
    """Return the line that makes a request; the arguments have the names of botocore's models."""
    named = {**arguments, "Region": region}
    words = [f"--{_dashed(name)} {_value(value)}" for name, value in named.items()]
    return " ".join(("aws", service, operation.replace("_", "-"), *words))


def setting(bucket: str, region: str, value: Setting) -> str:
    """Return the line that writes a setting of a bucket."""
    operation, arguments = value.call(bucket)
    return aws("s3api", operation, region, **arguments)


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
