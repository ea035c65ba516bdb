"""What `lake status` says of the sector sources: the findings that are open."""

from __future__ import annotations

from pipelines.contracts.words import both
from pipelines.ingestion.findings import WORDS, standing
from pipelines.runtime.settings import Settings
from pipelines.runtime.status import Section, status_sections


def section(settings: Settings) -> Section:
    """Open findings in `lake status`."""
    found = standing(settings)
    rows = [
        (
            one.dataset,
            one.owner,
            both(WORDS[one.finding.kind]),
            one.finding.subject or "—",
        )
        for one in found
    ]
    columns = ("bộ dữ liệu", "cơ quan", "phát hiện", "ở")
    return Section("Nguồn ngành cần sửa — Sector sources to be mended", columns, rows, is_good=not rows)


status_sections.append(section)
