# SPDX-License-Identifier: Apache-2.0
"""`s3crypt keys`: KMS keys through their whole life.

Rotating a key changes no objects in S3; `s3crypt rotate` moves objects to another key.
"""

import click

from ..help import DocumentedGroup
from . import (
    creation,
    grants,
    impact,
    listing,
    material,
    naming,
    policies,
    regions,
    rotation,
    showing,
    states,
)


@click.group(cls=DocumentedGroup)
def keys() -> None:
    """KMS keys through their whole life.

    KEY is a key id, a key ARN or alias/NAME.

    \b
    s3crypt keys create --alias payroll
    s3crypt keys show alias/payroll
    s3crypt keys impact alias/payroll --account
    """


_MODULES = (
    creation,
    listing,
    showing,
    rotation,
    naming,
    states,
    grants,
    policies,
    material,
    regions,
    impact,
)
for _module in _MODULES:
    for _command in _module.COMMANDS:
        keys.add_command(_command)
