# SPDX-License-Identifier: Apache-2.0
"""The engine: it reads and writes objects in S3, by location and typed values, in every mode.

`access` reads, writes, copies and lists objects, and `deleting` deletes them. `opened` represents
an object that is being read. `checks` and `key_arns` compare objects with the reader's demands.
`info` describes objects. `reader` and `writer` present objects as files. `tags` makes the requests
about tags, and `uploads` the requests about abandoned multipart uploads.
"""
