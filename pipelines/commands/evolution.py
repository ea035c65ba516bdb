"""`lake contracts diff` and `lake contracts publish`: what changed since the last published edition, and may it."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipelines.contracts import published, validators
from pipelines.contracts.changes import Change, Comparison, Edition
from pipelines.contracts.errors import ContractErrors
from pipelines.contracts.registry import load_registry
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

_WORDS = {
    "breaking": "phá vỡ — breaking",
    "compatible": "tương thích — compatible",
    "documentation": "mô tả — documentation",
    "new": "mới — new",
    "removed": "đã bỏ — removed",
}
_console = Console()


def add_to(app: typer.Typer) -> None:
    """Mount the two commands."""
    app.command()(diff)
    app.command()(publish)


def diff(
    dataset: Annotated[
        str | None, typer.Argument(help="Chỉ một bộ dữ liệu, ví dụ river_stage — only this dataset")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="REV|FOLDER",
            help="So với một phiên bản git (HEAD~1, main) hoặc một thư mục — compare with the contracts of a git "
            "revision or of a folder instead of the last published edition",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="In dạng JSON — print as JSON")] = False,
) -> None:
    """So hợp đồng với bản đã công bố — What changed since the last published edition of every contract.

    Every change is one of: breaking (a query or a sender that was right goes wrong), compatible (an optional field, a
    longer retention), documentation (words about the same data). They need a major, minor or patch version. A breaking
    change is never made in place: it lives in a dataset of its own, `<id>_v2` with `supersedes: <id>`, and the old one
    states its `end_date`.

    Exit code 1 when a version did not rise enough, so that continuous integration stops there.
    """
    settings = Settings.load()
    registry = load_registry(settings.home / "schemas")
    new = published.editions(registry)
    old = _editions_of(against, settings.home) if against else published.read(settings.home / published.FOLDER)
    if dataset is not None:
        if dataset not in {*old, *new}:
            known = ", ".join(sorted({*old, *new}))
            raise LakeError(f"Không có bộ dữ liệu này: no dataset {dataset!r}; there are: {known}.")
        old, new = ({k: v for k, v in side.items() if k == dataset} for side in (old, new))
    comparisons = published.compare_all(old, new, datetime.now(UTC).date())
    problems = published.problems(comparisons, registry)
    if as_json:
        print(json.dumps([_as_dict(one) for one in comparisons], ensure_ascii=False, indent=2))
    else:
        _print(comparisons, against or "bản công bố — the published editions")
        for problem in problems:
            _console.print(f"✘ {problem}", markup=False, highlight=False, soft_wrap=True)
    if problems:
        raise typer.Exit(1)


def publish() -> None:
    """Ghi bản công bố của mọi hợp đồng đã đổi — Record every new or changed contract as its published edition.

    Writes catalog/published/<domain>/<id>.json, which is committed: the next `lake contracts diff` compares with it.
    Refuses, and writes nothing at all, when a contract is not sound or a version did not rise as its changes need.
    Nothing is written when nothing changed. The edition of a dataset whose end date is past goes with its contract.
    """
    settings = Settings.load()
    registry = load_registry(settings.home / "schemas")
    validators.check(registry)
    done = published.publish(settings.home, registry, datetime.now(UTC).date())
    for word, paths in (("đã công bố — published", done.written), ("đã bỏ — removed", done.removed)):
        for path in paths:
            _console.print(f"{word}: {path}", highlight=False, soft_wrap=True)
    if not done.written and not done.removed:
        _console.print("Không có gì mới — nothing changed since the last publication.")


def _print(comparisons: tuple[Comparison, ...], against: str) -> None:
    title = f"Thay đổi so với {against}"
    table = Table("bộ dữ liệu", "phiên bản", "mức", "thay đổi", "cần", title=title, title_justify="left")
    for one in comparisons:
        versions = " → ".join(dict.fromkeys(version for version in (one.published, one.declared) if version))
        if one.state in {"new", "removed"}:
            table.add_row(one.id, versions, _WORDS[one.state], "", "")
        for number, change in enumerate(one.changes):
            place = (one.id, versions) if number == 0 else ("", "")
            table.add_row(*place, _WORDS[change.severity], str(change), str(change.bump))
        if one.state == "changed" and not one.changes:
            table.add_row(one.id, versions, "", "chỉ phiên bản — only the version", "")
    if table.row_count:
        _console.print(table)
    states = [one.state for one in comparisons]
    counted = ", ".join(f"{states.count(state)} {state}" for state in ("new", "changed", "removed", "unchanged"))
    _console.print(f"{len(comparisons)} bộ dữ liệu — datasets: {counted}.", highlight=False)


def _as_dict(one: Comparison) -> dict[str, Any]:
    return {
        "dataset": one.id,
        "state": one.state,
        "published": one.published,
        "declared": one.declared,
        "required_bump": str(one.required),
        "changes": [_change_as_dict(change) for change in one.changes],
        "problem": one.problem or None,
        "remedy": one.remedy or None,
    }


def _change_as_dict(change: Change) -> dict[str, str]:
    return {
        "kind": change.kind.name.lower(),
        "severity": change.severity,
        "bump": str(change.bump),
        "subject": change.subject,
        "before": change.before,
        "after": change.after,
    }


def _editions_of(against: str, home: Path) -> Mapping[str, Edition]:
    """The editions in a folder (of contracts, or of published files), or in a git revision of this project.

    Raises:
        LakeError: neither, a folder without contracts, or contracts that do not load today.
        ContractErrors: a published file in the folder is broken.
    """
    folder = Path(against)
    if folder.is_dir():
        for schemas in (folder, folder / "schemas"):
            if (schemas / "fields.yaml").is_file():
                return _loaded(schemas, against)
        found = published.read(folder)
        if not found:
            raise LakeError(
                f"The folder {against} holds no contracts.",
                "Name a folder with fields.yaml and datasets/, a project that has schemas/, or catalog/published.",
            )
        return found
    with tempfile.TemporaryDirectory() as scratch:
        _unpack(against, home, Path(scratch))
        return _loaded(Path(scratch) / "schemas", against)


def _loaded(schemas: Path, against: str) -> Mapping[str, Edition]:
    """The editions of other contracts than the project's own, which today's model may not understand."""
    try:
        return published.editions(load_registry(schemas))
    except (ContractErrors, FileNotFoundError) as error:
        lacking = f"{Path(str(error.filename)).name} is missing" if isinstance(error, FileNotFoundError) else str(error)
        raise LakeError(
            f"The contracts of {against} do not load under today's model:\n{lacking}\n",
            "Name a later revision at --against, or compare with the published editions.",
        ) from error


def _unpack(revision: str, home: Path, target: Path) -> None:
    """Write the ``schemas`` folder of a git revision below ``target``."""
    command = ["git", "-C", str(home), "archive", "--format=tar", "--end-of-options", revision, "schemas"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise LakeError("git was not found.", "Install it, or name a folder at --against.") from None
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise LakeError(
            f"{revision!r} is neither a folder nor a git revision with schemas/ ({reason[-1]}).",
            "Name one at --against, for example HEAD~1, main or a folder; without it the published editions are meant.",
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(target, filter="data")
