"""Rows, or what stands in them, that leave a table for good: by the process that holds its lease, whoever asks for it.

A table that landing writes is landing's as long as it lives: a commit behind its back makes its next append fail, and
it would begin that table again. So who wants rows deleted asks by a file, and landing deletes between two commits; a
table that nobody holds is deleted from directly. Either way the commit carries the removal's id, so that what was done
is found in the log even when the one who asked is gone.

What landing knows of a table stays right: a row that is gone makes :mod:`pipelines.landing.landed` look up a key that
is not there, never the other way round.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, WriterProperties
from deltalake.exceptions import CommitFailedError

from pipelines.runtime.errors import LakeError
from pipelines.runtime.files import replace_file
from pipelines.runtime.settings import Settings

METADATA_KEY = "lake.removal"
"""In the commit's own information: the id of the removal."""
_ATTEMPTS = 5
"""Appends to the shared tables may come between; each attempt looks at what they wrote."""
_ANSWER = ".answer"
_NO_CLEANING = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_WRITER = WriterProperties(compression="ZSTD", compression_level=1)


class NotRemoved(LakeError):
    """The process that holds a table could not delete from it."""


@dataclass(frozen=True)
class Removal:
    """Rows of one table (``silver.river_stage``) that match a predicate in the SQL of delta-rs; ``id`` is unique.

    With ``updates``, column → SQL, the rows stay with other values in these columns. Both texts stand in the log of the
    table for ever: they name rows by their place, never by a personal value.
    """

    id: str
    table: str
    predicate: str
    updates: Mapping[str, str] = field(default_factory=dict)


def remove(settings: Settings, removal: Removal) -> int:
    """Delete or empty the rows and return how many; none make no commit. The caller holds what lets it write the table.

    Files that hold nothing else leave without being read; the others are written again without the rows.

    Raises:
        CommitFailedError: others committed in between again and again.
    """
    table = DeltaTable(str(settings.table_path(*removal.table.split(".", 1))))
    for attempt in range(_ATTEMPTS):
        properties = CommitProperties(custom_metadata={METADATA_KEY: removal.id})
        try:
            if removal.updates:
                changed = table.update(
                    updates=dict(removal.updates),
                    predicate=removal.predicate,
                    writer_properties=_WRITER,
                    commit_properties=properties,
                    post_commithook_properties=_NO_CLEANING,
                )
                return int(changed["num_updated_rows"])
            metrics = table.delete(
                removal.predicate,
                writer_properties=_WRITER,
                commit_properties=properties,
                post_commithook_properties=_NO_CLEANING,
            )
        except CommitFailedError:
            if attempt == _ATTEMPTS - 1:
                raise
            table.update_incremental()
        else:
            return int(metrics["num_deleted_rows"])
    raise AssertionError("unreachable")


def committed(table: DeltaTable, removal_id: str, since: int) -> int | None:
    """The version in which a removal was committed after version ``since``; None when none was."""
    newest = table.version()
    for commit in table.history(newest - since) if newest > since else ():
        if commit.get(METADATA_KEY) == removal_id:
            return int(commit["version"])
    return None


# ── asking the process that holds the table ──────────────────────────────────────────────────────────────────────


def _folder(settings: Settings) -> Path:
    return settings.state / "landing" / f"{settings.namespace}.removals"


def ask(settings: Settings, removal: Removal) -> None:
    """Ask the landing that holds the table; a newer request takes the place of an older one."""
    replace_file(_folder(settings) / f"{removal.table}.json", json.dumps(asdict(removal), ensure_ascii=False))


def asked(settings: Settings) -> tuple[Removal, ...]:
    """The requests that nobody answered yet."""
    found = []
    for path in sorted(_folder(settings).glob("*.json")):
        try:
            found.append(Removal(**json.loads(path.read_text(encoding="utf-8"))))
        except FileNotFoundError:  # withdrawn meanwhile
            continue
    return tuple(found)


def answer(settings: Settings, removal: Removal, problem: str | None = None) -> None:
    """Say that a request was met, or why it could not be."""
    folder = _folder(settings)
    replace_file(folder / f"{removal.table}{_ANSWER}", json.dumps({"id": removal.id, "problem": problem}))
    (folder / f"{removal.table}.json").unlink(missing_ok=True)


def is_answered(settings: Settings, removal: Removal) -> bool:
    """Whether a request was met.

    Raises:
        NotRemoved: it could not be; the text is landing's.
    """
    try:
        said = json.loads((_folder(settings) / f"{removal.table}{_ANSWER}").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    if said["id"] != removal.id:
        return False
    if said["problem"] is not None:
        raise NotRemoved(f"{removal.table}: {said['problem']}", "See the log of landing; the next run tries again.")
    return True


def withdraw(settings: Settings, table: str) -> None:
    """Forget what was asked of a table, and the answer."""
    for suffix in (".json", _ANSWER):
        (_folder(settings) / f"{table}{suffix}").unlink(missing_ok=True)
