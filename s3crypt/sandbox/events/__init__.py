# SPDX-License-Identifier: Apache-2.0
"""CloudTrail's events: the record of each request, in the form that AWS documents.

`recorder` receives each request with its reply. `s3`, `kms` and `others` return the fields of a
record that depend on the service, and `identities` returns the sender. `store` keeps the latest
events in memory. `lookup` implements LookupEvents on the stored events, and `delivery` writes them
to the trails' log files. No record contains plaintext, ciphertext or a customer key.
"""
