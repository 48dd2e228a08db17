# SPDX-License-Identifier: Apache-2.0
"""KMS's rules, by API family: requests that moto wrongly accepts, and operations that it lacks.

`service` receives every request. The families: `grants`, `imports` of key material, and
`materials` of a key with its last use. `keys` decides whether a key may be used; the S3 rules call
it as well. No module here knows S3.
"""
