# SPDX-License-Identifier: Apache-2.0
"""The content type for the suffix of a name, from a table in this module.

Python's `mimetypes` reads tables of the machine, so the same file could get different types on two
machines. A compressed file gets the type of its compression and no content encoding. With a content
encoding, a browser would unpack the file, and its bytes would differ from the stored bytes.
"""

from collections.abc import Mapping
from types import MappingProxyType

_BY_SUFFIX: Mapping[str, str] = MappingProxyType(
    {
        "7z": "application/x-7z-compressed",
        "aac": "audio/aac",
        "arrow": "application/vnd.apache.arrow.file",
        "avi": "video/x-msvideo",
        "avif": "image/avif",
        "avro": "application/vnd.apache.avro",
        "bmp": "image/bmp",
        "bz2": "application/x-bzip2",
        "c": "text/plain",
        "css": "text/css",
        "csv": "text/csv",
        "doc": "application/msword",
        "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "eml": "message/rfc822",
        "epub": "application/epub+zip",
        "flac": "audio/flac",
        "geojson": "application/geo+json",
        "gif": "image/gif",
        "gz": "application/gzip",
        "heic": "image/heic",
        "htm": "text/html",
        "html": "text/html",
        "ico": "image/vnd.microsoft.icon",
        "ics": "text/calendar",
        "jar": "application/java-archive",
        "jpeg": "image/jpeg",
        "jpg": "image/jpeg",
        "js": "text/javascript",
        "json": "application/json",
        "jsonl": "application/jsonl",
        "log": "text/plain",
        "m4a": "audio/mp4",
        "md": "text/markdown",
        "mjs": "text/javascript",
        "mkv": "video/matroska",
        "mov": "video/quicktime",
        "mp3": "audio/mpeg",
        "mp4": "video/mp4",
        "mpeg": "video/mpeg",
        "odp": "application/vnd.oasis.opendocument.presentation",
        "ods": "application/vnd.oasis.opendocument.spreadsheet",
        "odt": "application/vnd.oasis.opendocument.text",
        "oga": "audio/ogg",
        "ogg": "audio/ogg",
        "ogv": "video/ogg",
        "otf": "font/otf",
        "parquet": "application/vnd.apache.parquet",
        "pdf": "application/pdf",
        "png": "image/png",
        "ppt": "application/vnd.ms-powerpoint",
        "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "py": "text/x-python",
        "rtf": "application/rtf",
        "sh": "application/x-sh",
        "sql": "application/sql",
        "sqlite": "application/vnd.sqlite3",
        "svg": "image/svg+xml",
        "tar": "application/x-tar",
        "tgz": "application/gzip",
        "tif": "image/tiff",
        "tiff": "image/tiff",
        "toml": "application/toml",
        "tsv": "text/tab-separated-values",
        "ttf": "font/ttf",
        "txt": "text/plain",
        "wasm": "application/wasm",
        "wav": "audio/wav",
        "weba": "audio/webm",
        "webm": "video/webm",
        "webp": "image/webp",
        "woff": "font/woff",
        "woff2": "font/woff2",
        "xhtml": "application/xhtml+xml",
        "xls": "application/vnd.ms-excel",
        "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xml": "application/xml",
        "xz": "application/x-xz",
        "yaml": "application/yaml",
        "yml": "application/yaml",
        "zip": "application/zip",
        "zst": "application/zstd",
    }
)


def content_type_of(name: str) -> str | None:
    """Return the content type for the suffix of a name. Return None if the suffix is unknown."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return _BY_SUFFIX.get(suffix.lower()) if stem and dot else None
