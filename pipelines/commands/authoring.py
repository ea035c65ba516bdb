"""`lake contracts new` and `lake contracts import`: a contract from a sample of data, or from somebody's ODCS file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.contracts.draft import Draft, check_draft, fields_text, write_drafts
from pipelines.contracts.errors import ContractError
from pipelines.contracts.names import identifier
from pipelines.contracts.registry import Registry, load_registry
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

_console = Console()
Domain = Annotated[
    str | None, typer.Option("--domain", help="Lĩnh vực, ví dụ flood — folder and topic area of the dataset")
]
Owner = Annotated[
    str | None, typer.Option("--owner", help="Cơ quan chủ quản, ví dụ H57.NNMT — agency that answers for the data")
]


def add_to(app: typer.Typer) -> None:
    """Mount the two commands."""
    app.command()(new)
    app.command("import")(import_odcs)


def new(
    dataset: Annotated[str, typer.Argument(help="Mã bộ dữ liệu, ví dụ parking_bay — id of the new dataset")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="FILE|URL",
            help="Mẫu dữ liệu — a sample: FILE.csv, FILE.json (a list, or one object per line), FILE.parquet, or "
            "postgresql://user:password@host/database?table=schema.table",
        ),
    ],
    domain: Domain = None,
    owner: Owner = None,
) -> None:
    """Tạo hợp đồng từ một mẫu dữ liệu — Scaffold a contract from a sample of the data.

    Reads up to 20,000 rows and infers types, key, event time and cadence. Columns that the dictionary has, by name, by
    an alias or as the clear value behind a token, become its fields; for the others entries are printed, to be added
    to schemas/fields.yaml after a look. What looks personal becomes a token. An existing file is never overwritten.

    What a sample cannot say is printed as a list of decisions: go through it, then run `lake contracts check`.
    """
    from pipelines.commands.samples import read_sample
    from pipelines.contracts.scaffold import scaffold

    settings = Settings.load()
    registry = load_registry(settings.home / "schemas")
    for name in (dataset, domain):
        _named(name)
    try:
        draft = scaffold(dataset, read_sample(source), registry, domain=domain, owner=owner)
    except ValueError as error:
        raise LakeError(f"No contract can be made: {error}.", "Give another sample at --from.") from error
    _write(settings.home, [draft], registry)


def import_odcs(
    file: Annotated[Path, typer.Argument(metavar="FILE.odcs.yaml", help="Tệp ODCS v3.0 hoặc v3.1 — the ODCS contract")],
    domain: Domain = None,
    owner: Owner = None,
) -> None:
    """Nhập hợp đồng ODCS — Import an Open Data Contract Standard file (v3.0 and v3.1).

    Every object of its `schema` becomes a dataset. Whatever has no place in a contract here is listed with its line,
    never dropped in silence. All datasets of the file are written, or none; an existing file is never overwritten.
    """
    from pipelines.contracts.odcs_reader import read_odcs

    settings = Settings.load()
    registry = load_registry(settings.home / "schemas")
    _named(domain)
    if not file.is_file():
        raise LakeError(f"There is no file {file}.", "Name an ODCS contract in YAML.")
    _write(settings.home, read_odcs(file, registry, domain=domain, owner=owner), registry)


def _named(name: str | None) -> None:
    try:
        identifier(name or "unnamed")
    except ValueError as error:
        raise LakeError(f"{error}.", "Begin with a lower-case letter; go on with letters, digits and _.") from None


def _write(home: Path, drafts: Sequence[Draft], registry: Registry) -> None:
    """Check all drafts, write all of them, and tell their author what is left to do."""
    found = {draft.id: check_draft(draft, registry, beside=drafts) for draft in drafts}
    write_drafts(home, drafts, registry)
    for draft in drafts:
        _tell(draft, found[draft.id])
    _console.print("Tiếp theo — next: `lake contracts check`.", highlight=False)


def _tell(draft: Draft, findings: Sequence[ContractError]) -> None:
    _say(f"✔ đã viết — written: {draft.path}")
    table = Table("trường — field", "kiểu — type", "khoá — key", "từ điển — dictionary")
    for entry in draft.contract["fields"]:
        name = next(iter(entry)) if isinstance(entry, dict) else entry
        proposed = draft.fields.get(name)
        kind = str(proposed["type"]) if proposed else ""
        table.add_row(
            name, kind, "•" if name in draft.contract["key"] else "", "mới — new" if proposed else "có — known"
        )
    _console.print(table)
    if draft.fields:
        _say("Thêm vào schemas/fields.yaml — add to schemas/fields.yaml:")
        _say(fields_text(draft).rstrip())
    for title, lines in (
        ("Cần quyết định — to decide:", draft.notes),
        ("Còn phải sửa — still to mend:", [str(finding) for finding in findings]),
    ):
        if lines:
            _say(title)
            for line in lines:
                _say(f"  • {line}")


def _say(text: str) -> None:
    _console.print(text, markup=False, highlight=False, soft_wrap=True)
