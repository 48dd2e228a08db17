# SPDX-License-Identifier: Apache-2.0
"""`s3crypt policy`: the policies of buckets, keys and roles."""

import click

from .policy_apply import apply


@click.group()
def policy() -> None:
    """Write the policies of buckets and keys."""


policy.add_command(apply)
