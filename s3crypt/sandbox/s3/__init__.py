# SPDX-License-Identifier: Apache-2.0
"""S3's rules for refusals, encryption, conditions and concurrent requests, which moto lacks.

`service` receives every request and has the table of all rules. A family is a module with the rules
of related operations. The families for objects are `objects`, `deleting`, `multipart`,
`encryption`, `locks` and `object_annotations`. The families for buckets are, among others,
`bucket_access`, `bucket_encryption`, `bucket_policy`, `bucket_settings` and `replication`; they
store documents with `bucket_documents`. moto handles all other operations. The families use these
modules: `versions` writes new object versions and stores the properties that moto lacks; `access`
and `conditions` refuse requests; `customer_keys`, `checksums` and `bodies` read requests.

moto gets no encryption headers: a rule removes them from the request, stores them beside moto's
object, and adds them to the reply. The modules here call KMS only to check whether a key may be
used.
"""
