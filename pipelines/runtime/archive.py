"""Unpacking the Trino server: only what is needed of a tar of 821 MB with hard links between its plugins."""

import gzip
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pipelines.runtime.errors import LakeError

# Delta Lake is what we serve; the others guard, limit and test it. With all 50 the folder holds 2 GB instead of 0.4.
TRINO_PLUGINS = (
    "delta-lake",
    "memory",
    "tpch",
    "password-authenticators",
    "resource-group-managers",
    "session-property-managers",
)


def wanted(name: str, plugins: tuple[str, ...] = TRINO_PLUGINS) -> bool:
    """Say whether a member of the tar is kept: the libraries and the named plugins."""
    parts = PurePosixPath(name).parts[1:]
    return bool(parts) and (parts[0] == "lib" or (parts[0] == "plugin" and len(parts) > 2 and parts[1] in plugins))


def extract_server(tar: Path, target: Path, progress: Callable[[int], None]) -> None:
    """Unpack the kept members of `tar` into `target` (its first path part dropped), all or nothing.

    A kept hard link to a member that is not kept becomes that member's bytes. `progress` gets the count of compressed
    bytes read so far. Raises LakeError for a member that would land outside `target`, and for an incomplete tar.
    """
    work = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    try:
        needed = _needed(tar, progress)
        _unpack(tar, work, needed, progress)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _needed(tar: Path, progress: Callable[[int], None]) -> dict[str, list[str]]:
    """Return, for every regular member whose bytes are needed, the kept paths that hold them."""
    needed: dict[str, list[str]] = {}
    with _members(tar) as (raw, archive):
        for member in archive:
            progress(raw.tell())
            if wanted(member.name) and (member.isreg() or member.islnk()):
                needed.setdefault(member.linkname if member.islnk() else member.name, []).append(member.name)
    return needed


def _unpack(tar: Path, work: Path, needed: dict[str, list[str]], progress: Callable[[int], None]) -> None:
    size = tar.stat().st_size
    missing = set(needed)
    with _members(tar) as (raw, archive):
        for member in archive:
            progress(size + raw.tell())
            if not member.isreg() or member.name not in needed:
                continue
            content = archive.extractfile(member)
            if content is None:
                continue
            first, *others = (_inside(work, name) for name in needed[member.name])
            first.parent.mkdir(parents=True, exist_ok=True)
            with first.open("wb") as stream:
                shutil.copyfileobj(content, stream, 1024 * 1024)
            if first.stat().st_size == member.size:
                missing.discard(member.name)
            for other in others:
                other.parent.mkdir(parents=True, exist_ok=True)
                os.link(first, other)
    if missing or not needed:
        raise LakeError(f"The server tar {tar} is incomplete.", "Remove it, then run `make setup`.")


@contextmanager
def _members(tar: Path) -> Iterator[tuple[BinaryIO, tarfile.TarFile]]:
    """Open `tar` as a stream; Python's own gzip reader raises EOFError where tarfile's takes a break for the end."""
    with tar.open("rb") as raw, gzip.GzipFile(fileobj=raw) as plain, tarfile.open(fileobj=plain, mode="r|") as archive:
        yield raw, archive


def _inside(work: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts[1:]
    if ".." in parts or PurePosixPath(name).is_absolute():
        raise LakeError(
            f"The server tar holds the unsafe path {name!r}.", "Remove the cached tar and run `make setup`."
        )
    return work.joinpath(*parts)
