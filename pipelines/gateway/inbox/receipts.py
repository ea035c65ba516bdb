"""The receipt of a file: what its sender reads beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from pipelines.gateway.inbox.folder import DONE, original_name
from pipelines.gateway.inbox.progress import Progress, RefusedAt

_LOCAL = ZoneInfo("Asia/Ho_Chi_Minh")
_DONE = "Đã đọc hết tệp — the file was read to its end"
_SOME = "Đã đọc hết tệp, có bản ghi không dùng được — read to its end, some records are no use"
_FAILED = "Không đọc được tệp — the file could not be read"
_BEGUN = "Chỉ đọc được phần đầu — only the first part of the file could be read"


def render(
    own: str,
    namespace: str,
    source: str,
    dataset: str,
    where: str,
    progress: Progress | None,
    refused: Sequence[RefusedAt],
    *,
    reason: str,
    line: int | None,
    is_kept: bool,
) -> bytes:
    """The receipt as JSON. Times are local with their offset; `line` is where the file could not be read on.

    The records before that line were taken: sending the mended file again changes nothing for them.
    """
    records = progress.records if progress else 0
    told = {
        "result": (_SOME if refused else _DONE) if where == DONE else (_BEGUN if records else _FAILED),
        "reason": reason or None,
        "line": line,
        "file": original_name(own),
        "is_kept": is_kept,
        "namespace": namespace,
        "source": source,
        "dataset": dataset,
        "finished_at": datetime.now(UTC).astimezone(_LOCAL).isoformat(timespec="seconds"),
        "sha256": progress.sha256 if progress else None,
        "plain_bytes": progress.plain_bytes if progress else None,
        "records": records,
        "accepted": progress.accepted if progress else 0,
        "spooled": progress.spooled if progress else 0,
        "refused": progress.refused if progress else 0,
        "dropped_fields": progress.dropped_fields if progress else 0,
        "resumed": progress.resumed if progress else 0,
        "refused_records": [asdict(item) for item in refused],
    }
    return json.dumps(told, ensure_ascii=False, indent=1).encode() + b"\n"
