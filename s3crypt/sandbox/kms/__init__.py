# SPDX-License-Identifier: Apache-2.0
"""KMS's rules: what it refuses and moto lets pass, and what moto does not have, by API family.

`service` receives every request. The families: `grants`, `imports` of key material, and `records`
of a key: its material and its last use. `keys` decides whether a key may be used; S3 asks it as
well. No module here knows S3.
"""
