"""Documentation: the indexes over the pages: all domains, one domain with its entities, the code lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipelines.contracts.catalogue import in_order, source_kind
from pipelines.contracts.domains import domain_of
from pipelines.contracts.markdown import escape, joined, names, table
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import diagrams
from pipelines.contracts.words import CLASSES, SOURCES, both

_MAX_CODES = 60


def indexes(registry: Registry) -> Mapping[str, str]:
    """Every index, path relative to the project root → text without its header.

    Raises:
        Untranslatable: a domain without a name.
    """
    domains = sorted({dataset.domain for dataset in registry.datasets})
    files = {f"docs/catalog/{domain}/README.md": _domain_index(domain, registry) for domain in domains}
    files["docs/catalog/README.md"] = _index(domains, registry)
    files["docs/catalog/code-lists.md"] = _code_lists(registry)
    return files


def _domain_index(domain: str, registry: Registry) -> str:
    datasets = [dataset for dataset in in_order(registry) if dataset.domain == domain]
    title = domain_of(datasets[0]).title
    rows = []
    for dataset in datasets:
        link, said = f"[`{dataset.id}`]({dataset.id}.md)", escape(both(dataset.title))
        rows.append((link, said, both(SOURCES[source_kind(dataset)]), both(CLASSES[dataset.classification])))
    parts = (
        f"# {title.vi} · {title.en}",
        table(("bộ dữ liệu · dataset", "tên · title", "nguồn · source", "mức · class"), rows),
        "## Thực thể và tham chiếu · Entities and references",
        f"```mermaid\n{diagrams.entities(domain, registry)}\n```",
    )
    return joined(parts)


def _index(domains: Iterable[str], registry: Registry) -> str:
    rows = []
    for domain in domains:
        datasets = [dataset for dataset in registry.datasets if dataset.domain == domain]
        rows.append((f"[{domain}]({domain}/README.md)", both(domain_of(datasets[0]).title), str(len(datasets))))
    parts = (
        "# Danh mục dữ liệu · Data catalogue",
        "Mỗi bộ dữ liệu một trang, sinh ra từ hợp đồng trong `schemas/`. — One page for each dataset, generated from "
        "its contract in `schemas/`.",
        table(("miền · domain", "tên · name", "bộ dữ liệu · datasets"), rows),
        "- [Danh mục mã · Code lists](code-lists.md)\n"
        "- [Quy tắc được kiểm ở đâu · Which rule is held where](rule-support.md)"
        + ("\n- [Kịch bản · Scenarios](scenarios.md)" if registry.scenarios else ""),
    )
    return joined(parts)


def _code_lists(registry: Registry) -> str:
    parts = ["# Danh mục mã · Code lists"]
    for code_list in registry.code_lists:
        parts += [f"## {code_list.id}", f"{both(code_list.title)} · {code_list.status}", code_list.source]
        codes = names(code_list.codes[:_MAX_CODES])
        rest = len(code_list.codes) - _MAX_CODES
        more = f" … và {rest} mã nữa · and {rest} more" if rest > 0 else ""
        parts.append(f"{codes}{more}")
    return joined(parts)
