"""Configuration files of the servers: templates in infra/ with ${name} places, rendered into the state folder."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from string import Template

from pipelines.runtime.errors import LakeError
from pipelines.runtime.files import replace_file


def render(template: Path, values: Mapping[str, object]) -> str:
    """Return the text of `template` with every ${name} filled; raises LakeError for a place without a value."""
    try:
        return Template(template.read_text(encoding="utf-8")).substitute({k: str(v) for k, v in values.items()})
    except KeyError as error:
        raise LakeError(f"{template} has the place {error.args[0]!r}, which nothing fills.") from error


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Write `text` to `path` by an atomic rename, unless it already says so."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    replace_file(path, text, mode=mode)


def fingerprint(*texts: str, files: tuple[Path, ...] = ()) -> str:
    """Return a hash of rendered texts and of the names, sizes and times of files."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    for file in sorted(files):
        stat = file.stat()
        digest.update(f"{file}:{stat.st_size}:{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()
