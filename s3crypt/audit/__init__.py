# SPDX-License-Identifier: Apache-2.0
"""What is out of line in buckets, keys and objects, and the command that sets it right.

Only actions that read are used, and no key is ever unwrapped.
"""
