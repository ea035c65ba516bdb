"""Documentation: a page for each dataset, an index with the entities of each domain, the code lists. Vietnamese first,
English beside it; read in the repository as it is, so plain Markdown and Mermaid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from pipelines.contracts import durations, qc_words
from pipelines.contracts.catalogue import agency, basis_title, in_order, inputs, legal_bases, source_kind, successor
from pipelines.contracts.domains import domain_of
from pipelines.contracts.markdown import escape, joined, names, section, table
from pipelines.contracts.media_types import media_types
from pipelines.contracts.model import QC_TESTS, ContractField, Dataset, Deletes
from pipelines.contracts.names import double_quote
from pipelines.contracts.registry import Registry
from pipelines.contracts.rendering import markdown_file
from pipelines.contracts.support import Support, native
from pipelines.contracts.targets import great_expectations as gx
from pipelines.contracts.targets.documentation_index import indexes
from pipelines.contracts.targets.trino import (
    LIVE,
    PUBLISHED,
    granted_columns,
    has_history,
    history_name,
    is_granted,
    is_live,
)
from pipelines.contracts.words import CLASSES, DATA_CLASSES, SOURCES, both

TARGET = "documentation"
SUPPORT: Mapping[str, Support] = {
    **native("columns", "type", "required", "key_known", "key_unique", "code_list", "range", *QC_TESTS),
    **native("row_count", "completeness", "comparison", "required_when", "pattern", "unique", "share", "total"),
    **native("freshness"),
}
"""Every kind of rule that a contract can hold, and where it is said: everything can be said in words."""

FOLDERS = ("docs/catalog",)
"""The folders, relative to the project root, in which a generated file that nobody asks for is an orphan."""


def render(registry: Registry) -> Mapping[str, str]:
    """Every page, path relative to the project root → text.

    Raises:
        Untranslatable: a domain without a name; a rule as :func:`pipelines.contracts.targets.great_expectations.suite`.
    """
    files = {f"docs/catalog/{d.domain}/{d.id}.md": markdown_file(page(d, registry)) for d in in_order(registry)}
    return files | {path: markdown_file(text) for path, text in indexes(registry).items()}


def page(dataset: Dataset, registry: Registry) -> str:
    """The page of one dataset, without its header.

    Raises:
        Untranslatable: as :func:`render`.
    """
    said = dataset.description
    parts = [
        f"# {dataset.title.vi} · {dataset.title.en}",
        f"`{dataset.id}` · {dataset.version} · [{both(domain_of(dataset).title)}](README.md)",
        *_succession(dataset, registry),
        f"{said.purpose.vi}\n\n*{said.purpose.en}*",
        table(("", ""), _facts(dataset, registry)),
        *section("Cách dùng · How to use", said.usage),
        *section("Giới hạn · Limits", said.limitations),
        *section("Chưa kiểm chứng · Unverified", "\n".join(f"- {item}" for item in dataset.unverified)),
        *section("Truy vấn · Where to query", _query(dataset)),
        *section("Các trường · Fields", _fields(dataset)),
        *section("Quy tắc chất lượng · Rules", table(("quy tắc", "rule", ""), _rules(dataset, registry))),
        *section("Nguồn và nơi dùng · Lineage", "\n".join(_lineage(dataset, registry))),
    ]
    return joined(parts)


def _succession(dataset: Dataset, registry: Registry) -> Iterator[str]:
    """Until when a dataset is filled and what takes its place; what it takes the place of."""
    newer = successor(dataset, registry)
    older = next((other for other in registry.datasets if other.id == dataset.supersedes), None)
    if dataset.end_date is not None:
        use = f" Dùng · Use {_link(newer, dataset)}." if newer else ""
        yield f"> **Chỉ cập nhật đến · Filled until {dataset.end_date}.**{use}"
    if older is not None:
        yield f"> Thay cho · Takes the place of {_link(older, dataset)}."


def _facts(dataset: Dataset, registry: Registry) -> Iterator[tuple[str, str]]:
    titles = {system.id: system.title for system in registry.systems}
    yield "Chủ quản · Owner", f"{escape(both(agency(dataset.owner, registry)))} (`{dataset.owner}`)"
    yield "Nguồn · Source", both(SOURCES[source_kind(dataset)])
    yield "Mức bảo mật · Classification", both(CLASSES[dataset.classification])
    yield "Lớp dữ liệu · Data class", both(DATA_CLASSES[dataset.data_class])
    yield "Mỗi dòng là · One row is", escape(dataset.grain)
    yield "Khoá · Key", names(dataset.key)
    if dataset.event_time:
        yield "Thời điểm · Event time", f"`{dataset.event_time}`"
    if dataset.stream:
        yield "Chu kỳ · Cadence", both(durations.words(dataset.stream.cadence))
        if dataset.is_sent:
            yield "Nhận theo · Accepted formats", names(dataset.stream.accepts)
            yield "Kiểu nội dung · Media types", names(media_types(dataset))
        else:
            yield "Ghi bởi · Written by", "chỉ nền tảng, không nguồn nào gửi vào · the platform alone, nobody sends it"
        if dataset.stream.device:
            yield "Thiết bị · Device", f"`{dataset.stream.device}`, đăng ký ở · registered in `{dataset.register}`"
    if dataset.sector:
        source = registry.source_of(dataset)
        yield "Hệ thống nguồn · Source system", f"{escape(both(source.title))} (`{source.id}`)"
        yield "Bảng nguồn, lịch đọc · Source table, schedule", f"`{dataset.sector.place}`, `{dataset.sector.schedule}`"
        if dataset.sector.deletes:
            yield "Dòng nguồn đã xoá · Rows deleted at the source", _deletes(dataset.sector.deletes)
        elif dataset.sector.mode == "capture":
            yield "Dòng nguồn đã xoá · Rows deleted at the source", "xoá theo nhật ký của nguồn · as its log says"
        if has_history(dataset):
            yield "Lịch sử thay đổi · History of changes", f"`lake.{LIVE}.{history_name(dataset)}`"
    yield "Độ tươi cam kết · Promised freshness", both(durations.words(dataset.sla.freshness))
    if dataset.sla.completeness_pct is not None:
        yield "Độ đầy đủ cam kết · Promised completeness", f"{dataset.sla.completeness_pct:f} %"
    if dataset.stream or dataset.sector:
        yield "Lưu ở bronze · Kept in bronze", both(durations.words(dataset.retention.bronze))
    yield f"Lưu ở {dataset.layer} · Kept in {dataset.layer}", both(durations.words(dataset.retention.silver))
    if by := dataset.retention.by:
        yield "Lưu ngắn hơn · Kept shorter", f"theo · by `{by.field}`: `{by.code_list}.{by.days}`"
    if dataset.personal_purpose:
        yield "Mục đích xử lý · Purpose of processing", escape(both(dataset.personal_purpose))
    for row in legal_bases(dataset, registry):
        yield "Căn cứ pháp lý · Legal basis", escape(basis_title(row))
    if dataset.clauses:
        yield "Mục trong kế hoạch · Clauses", escape(", ".join(dataset.clauses))
    for number in dataset.systems:
        yield "Hệ thống · System", f"{number}. {escape(both(titles[number]))}"


def _deletes(how: Deletes) -> str:
    if how.column is None:
        return "xoá khi nguồn không còn khoá · deleted when the source no longer has the key"
    return f"xoá theo · deleted as `{how.column}` says"


def _query(dataset: Dataset) -> str:
    if not any(is_granted(item) for item in dataset.fields):
        return "Không công bố trường nào. — No field is published."
    name = _written(dataset.id)
    views = [f"lake.{PUBLISHED}.{name}", *([f"lake.{LIVE}.{name}"] if is_live(dataset) else [])]
    columns = ", ".join(_written(name) for name in granted_columns(dataset)[:4])
    withheld = [item.name for item in dataset.fields if not is_granted(item)]
    shown = f"Trino: {', '.join(f'`{view}`' for view in views)}"
    example = f"```sql\nselect {columns} from {views[0]} limit 20\n```"
    if not withheld:
        return f"{shown}\n\n{example}"
    return f"{shown}\n\nKhông công bố · Withheld: {names(withheld)}\n\n{example}"


def _written(name: str) -> str:
    """A column as a person writes it: a name of one word may be a word of SQL, then it needs quotes."""
    return name if "_" in name and not name.startswith("current_") else double_quote(name)


def _fields(dataset: Dataset) -> str:
    heads = ("trường · field", "ý nghĩa · meaning", "kiểu · type", "đơn vị · unit", "giới hạn · range")
    return table((*heads, "danh mục · codes", "bắt buộc · required", "mức · class"), map(_field, dataset.fields))


def _field(item: ContractField) -> tuple[str, ...]:
    codes = f"[{item.code_list}](../code-lists.md#{item.code_list})" if item.code_list else ""
    refers = f" → `{item.references}`" if item.references else ""
    token = f" (mã thay cho · token of `{item.tokenise.source}`)" if item.tokenise else ""
    meaning = both(item.title) + (f". {both(item.description)}" if item.description else "")
    return (
        f"`{item.name}`{refers}",
        escape(meaning) + token,
        str(item.type),
        escape(item.unit or ""),
        _range(item.minimum, item.maximum),
        codes,
        "•" if item.required else "",
        both(CLASSES[item.classification]),
    )


def _range(low: Decimal | None, high: Decimal | None) -> str:
    if low is None and high is None:
        return ""
    return f"{'' if low is None else f'{low:f}'} … {'' if high is None else f'{high:f}'}".strip()


def _rules(dataset: Dataset, registry: Registry) -> Iterator[tuple[str, str, str]]:
    """The rules in words: those of the verdict, then how a stream flags what is implausible."""
    for expectation in gx.suite(dataset, registry).expectations:
        warning = "cảnh báo · warning" if expectation.severity == "warning" else ""
        yield escape(expectation.text.vi), escape(expectation.text.en), warning
    for said in qc_words.sentences(dataset, registry):
        yield escape(said.text.vi), escape(said.text.en), "gắn cờ · flag"


def _lineage(dataset: Dataset, registry: Registry) -> Iterator[str]:
    known = {other.id: other for other in registry.datasets}
    for name in inputs(dataset):
        yield f"- từ · from {_link(known[name], dataset) if name in known else _code_link(name)}"
    for other in in_order(registry):
        if dataset.id in inputs(other):
            yield f"- dùng ở · used by {_link(other, dataset)}"


def _link(other: Dataset, seen_from: Dataset) -> str:
    folder = "" if other.domain == seen_from.domain else f"../{other.domain}/"
    return f"[`{other.id}`]({folder}{other.id}.md) {both(other.title)}"


def _code_link(name: str) -> str:
    code_list = name.removeprefix("code_")
    return f"[`{name}`](../code-lists.md#{code_list})"
