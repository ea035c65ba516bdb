"""Files that are there whole or not at all: what a killed process leaves is the old content."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, content: str | bytes, *, mode: int = 0o600, durable: bool = False) -> None:
    """Write `content` (text as UTF-8) in place of what `path` held, by an atomic rename; its folder is made.

    `durable` has it on the disk before this returns, for what a sender was told is safe.

    Raises:
        OSError: the disk does not take it; the old content stands.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(handle, mode)
            stream.write(content.encode() if isinstance(content, str) else content)
            if durable:
                stream.flush()
                os.fsync(handle)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
