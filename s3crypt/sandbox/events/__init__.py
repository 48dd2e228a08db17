# SPDX-License-Identifier: Apache-2.0
"""CloudTrail's events: what each request leaves behind, in the form in which AWS documents it.

`recorder` receives each request with its reply. `s3`, `kms` and `others` say what a record has of
the request to their service, `identities` who sent it. `store` keeps the last events in memory;
`lookup` answers LookupEvents from it, and `delivery` writes the files of trails. No record has
plaintext, ciphertext or a customer key.
"""
