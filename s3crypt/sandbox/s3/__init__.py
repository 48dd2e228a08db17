# SPDX-License-Identifier: Apache-2.0
"""S3's rules: the refusals, encryption, conditions and races that moto lacks, by API family.

`service` receives every request and has the one table of rules. A family is a module with the
rules of related operations. Of objects: `objects`, `deleting`, `multipart`, `encryption`, `locks`
and `object_annotations`; of buckets: `bucket_access`, `bucket_encryption`, `bucket_policy`,
`bucket_settings` and `replication`, which store documents by `bucket_documents`. moto answers every
other operation. Below the families, `versions` writes new object versions and stores beside them
the properties that moto lacks; `access` and `conditions` refuse requests; `customer_keys`,
`checksums` and `bodies` read them.

moto never sees encryption: a rule removes its headers from the request, stores them beside moto's
object, and adds them to the reply. No module here knows KMS, except to check whether a key may be
used.
"""
