# SPDX-License-Identifier: Apache-2.0
"""KMS's rules: refusals of requests that moto wrongly accepts, and operations that moto lacks.

`service` receives every request. The operations on grants, imported key material, rotations,
multi-Region keys and states of keys each have a module. `keys` decides whether a key may be used;
the S3 rules call it as well. No module here knows S3.
"""
