# SPDX-License-Identifier: Apache-2.0
"""The engine: objects in S3 by location and typed values, in every mode.

`access` reads, writes, copies and lists objects, and `deleting` deletes them; `opened` is an object
that is being read. `checks` and `key_arns` compare objects with what is demanded of them, and
`info` describes objects. `reader` and `writer` are objects as files, `tags` has the requests about
tags, and `uploads` those about uploads by parts that were left behind.
"""
