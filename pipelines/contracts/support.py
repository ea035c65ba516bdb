"""What a target can hold of a contract: every kind of rule is native there, held by another target, or not held, with
the reason. The tables themselves stand in the targets (``SUPPORT``); docs/catalog/rule-support.md shows them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.contracts.model import QC_TESTS, Text


@dataclass(frozen=True)
class Native:
    """The target expresses the rule itself."""


@dataclass(frozen=True)
class Elsewhere:
    """Another target holds the rule; it must be native there."""

    target: str


@dataclass(frozen=True)
class Refused:
    """The target cannot hold the rule, for this reason; nothing stands silently in its place."""

    reason: str


Support = Native | Elsewhere | Refused

KINDS: Mapping[str, Text] = {
    "columns": Text(vi="Các cột của bảng", en="The columns of the table"),
    "type": Text(vi="Kiểu của giá trị", en="The type of a value"),
    "required": Text(vi="Trường bắt buộc", en="A required field"),
    "key_known": Text(vi="Khoá luôn có giá trị", en="The key is known"),
    "key_unique": Text(vi="Mỗi khoá một dòng", en="One row per key"),
    "code_list": Text(vi="Giá trị thuộc danh mục", en="A value is in its code list"),
    "range": Text(vi="Giới hạn có thể xảy ra", en="The limits of what is possible"),
    "gap": Text(vi="Khoảng trống giữa hai lần đo (QARTOD)", en="The time between two readings (QARTOD)"),
    "gross_range": Text(vi="Giới hạn thông thường (QARTOD)", en="The limits of what is usual (QARTOD)"),
    "climatology": Text(vi="Giới hạn theo mùa (QARTOD)", en="The limits of the season (QARTOD)"),
    "spike": Text(vi="Giá trị vọt (QARTOD)", en="A spike (QARTOD)"),
    "rate_of_change": Text(vi="Tốc độ thay đổi (QARTOD)", en="The rate of change (QARTOD)"),
    "flat_line": Text(vi="Giá trị đứng yên (QARTOD)", en="A flat line (QARTOD)"),
    "attenuated_signal": Text(vi="Tín hiệu yếu dần (QARTOD)", en="An attenuated signal (QARTOD)"),
    "neighbour": Text(vi="So với trạm lân cận (QARTOD)", en="Comparison with neighbours (QARTOD)"),
    "row_count": Text(vi="Số dòng ít nhất", en="At least so many rows"),
    "completeness": Text(vi="Tỷ lệ có giá trị", en="The share of known values"),
    "comparison": Text(vi="Thứ tự của hai trường", en="The order of two fields"),
    "required_when": Text(vi="Bắt buộc theo trường khác", en="Required by another field"),
    "pattern": Text(vi="Mẫu chữ", en="A regular expression"),
    "unique": Text(vi="Không trùng ngoài khoá", en="Unique beside the key"),
    "share": Text(vi="Tỷ lệ của một số giá trị", en="The share of some values"),
    "total": Text(vi="Tổng theo nhóm", en="The total of a group"),
    "freshness": Text(vi="Độ tươi cam kết", en="The promised freshness"),
}
"""Every kind of rule that a contract can hold, in the order in which people read them."""


def elsewhere(target: str, *kinds: str) -> dict[str, Support]:
    """The part of a ``SUPPORT`` table that says: all these kinds are held by ``target``."""
    return {kind: Elsewhere(target) for kind in kinds}


def native(*kinds: str) -> dict[str, Support]:
    """The part of a ``SUPPORT`` table that says: all these kinds are held here."""
    return {kind: Native() for kind in kinds}


def flagged_elsewhere() -> dict[str, Support]:
    """The part of a ``SUPPORT`` table that says: quality tests flag rows in flight, or where they are settled."""
    on_arrival = (test for test in QC_TESTS if test != "neighbour")
    return {**elsewhere("flink", *on_arrival), **elsewhere("dbt", "neighbour")}
