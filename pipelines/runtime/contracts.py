"""The contracts as one namespace holds them."""

from __future__ import annotations

from pipelines.contracts.registry import Registry, load_registry
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings


def registry_of(settings: Settings) -> Registry:
    """Load the contracts of the settings' namespace: all of them, or those of its profile.

    Raises:
        ContractErrors: every finding of every file.
        LakeError: the namespace's profile is not defined any more.
    """
    return part_of(settings, load_registry(settings.home / "schemas"))


def part_of(settings: Settings, registry: Registry) -> Registry:
    """What the settings' namespace holds of a registry that is loaded already.

    Raises:
        LakeError: the namespace's profile is not defined any more.
    """
    try:
        return registry.only(settings.profile)
    except KeyError as error:
        raise LakeError(
            f"The namespace {settings.namespace} has {error.args[0]}.", "Add it there, or begin anew: lake forget."
        ) from None


def signature(settings: Settings) -> tuple[tuple[str, int, int], ...]:
    """What changes when a schema file does."""
    found = []
    for path in sorted((settings.home / "schemas").rglob("*")):
        if path.suffix in {".yaml", ".csv"}:
            info = path.stat()
            found.append((str(path), info.st_mtime_ns, info.st_size))
    return tuple(found)
