# SPDX-License-Identifier: Apache-2.0
"""An Arrow file system for this file system. This module needs pyarrow."""

from typing import Any

from pyarrow import PythonFile
from pyarrow.fs import FileInfo, FSSpecHandler, PyFileSystem

from .parallel import parallel_map


class ArrowHandler(FSSpecHandler):  # type: ignore[misc]  # pyarrow has no types
    """Arrow's handler of fsspec file systems, with fewer requests, which are made in parallel."""

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        """Return the type, size and time of each path. The requests are made in parallel."""
        of_some = super().get_file_info
        connection = self.fs._connection  # noqa: SLF001 - this is its file system, for Arrow
        return parallel_map(connection, lambda path: of_some([path])[0], list(paths))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Remove all objects in a directory, with up to 1,000 objects per request."""
        if not path.strip("/"):
            raise ValueError("Name the directory to be emptied; this path covers everything.")
        try:
            self.fs.rm(self.fs.ls(path, detail=False), recursive=True)
        except FileNotFoundError:
            if not missing_dir_ok:
                raise

    def open_input_stream(self, path: str) -> PythonFile:
        """Open an object for sequential reading."""
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> PythonFile:
        """Open an object for reading. No request checks first whether it exists."""
        return PythonFile(self.fs.open(path, mode="rb"), mode="r")


def arrow_file_system(fs: Any) -> PyFileSystem:
    """Return an Arrow file system of an S3CryptFileSystem."""
    return PyFileSystem(ArrowHandler(fs))
