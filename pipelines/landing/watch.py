"""What a running landing looks at besides Kafka: the contracts' files, requests to flush, the keys."""

from __future__ import annotations

from pathlib import Path

from pipelines.contracts.registry import Registry
from pipelines.gateway.objects import open_store
from pipelines.landing.checks import Encrypt
from pipelines.runtime.settings import Settings


def encryptor(settings: Settings) -> Encrypt:
    """Encrypts refused bytes and rows with the keys of the store of refused payloads."""
    return open_store(settings).cipher.encrypt


def flush_path(settings: Settings) -> Path:
    """Touching this file asks the landing process to commit at once what it has read."""
    return settings.state / "landing" / f"{settings.namespace}.flush"


def changed(old: Registry, new: Registry, dataset_id: str) -> bool:
    """Whether a contract or a code list that it names is another one now; a contract that is gone goes on as it was."""
    before = {d.id: d for d in old.datasets}.get(dataset_id)
    after = {d.id: d for d in new.datasets}.get(dataset_id)
    if after is None:
        return False
    lists = {f.code_list for f in after.fields if f.code_list}
    return before != after or any(old.code_list(name) != new.code_list(name) for name in lists)


def mtime(path: Path) -> int:
    """When a file was touched last, in nanoseconds; 0 when there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
