"""The story of the flood of 2025 as Trino tells it: alarms, scenarios, peaks, traffic, feedback, with their origin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

Query = Callable[[str], Sequence[Sequence[Any]]]
"""Runs a statement in the catalog of the namespace and returns its rows."""


@dataclass(frozen=True)
class Chapter:
    """One table of the story: headings in Vietnamese, and the statement whose columns they name."""

    title: str
    headings: tuple[str, ...]
    sql: str


LOCAL = "format_datetime({} AT TIME ZONE 'Asia/Ho_Chi_Minh', 'dd/MM HH:mm')"

CHAPTERS: tuple[Chapter, ...] = (
    Chapter(
        "Diễn biến báo động lũ đã chốt — Settled alarm timeline",
        ("Trạm", "Sông", "Cấp", "Phát", "Kết thúc", "Đỉnh (m)", "Lúc", "Kéo dài (h)", "Nguồn gốc"),
        f"""
        SELECT s.name_vi, s.river_name,
               IF(e.alarm_level = 4, 'lịch sử', 'BĐ' || CAST(e.alarm_level AS varchar)), {LOCAL.format("e.raised_at")},
               COALESCE({LOCAL.format("e.cleared_at")}, 'chưa kết thúc'), e.peak_stage_m, {LOCAL.format("e.peak_at")},
               round(e.duration_h, 1), e.origin
        FROM published.fct_flood_episode e JOIN published.dim_station s ON s.station_id = e.station_id
        ORDER BY s.name_vi, e.alarm_level, e.raised_at
        """,
    ),
    Chapter(
        "Kịch bản đã chạy — Scenarios that ran (diễn tập, exercise)",
        ("Kịch bản", "Nội dung", "Kết thúc", "Việc phát sinh", "Nguồn gốc"),
        f"""
        SELECT r.scenario_id, r.headline_vi, COALESCE({LOCAL.format("r.ended_at")}, 'đang chạy'),
               array_join(array_agg(o.outcome_kind ORDER BY o.outcome_at, o.outcome_id), ', '), r.origin
        FROM live.scenario_run_v2 r JOIN live.scenario_outcome o ON o.run_id = r.run_id
        GROUP BY r.scenario_id, r.headline_vi, r.started_at, r.ended_at, r.origin
        ORDER BY r.started_at, r.headline_vi
        """,
    ),
    Chapter(
        "Đỉnh lũ theo ngày — Peaks by day",
        ("Trạm", "Ngày", "Đỉnh (m)", "Lúc", "Giờ ≥ BĐ1", "≥ BĐ2", "≥ BĐ3", "≥ lịch sử", "Số bản ghi", "Nguồn gốc"),
        f"""
        SELECT s.name_vi, CAST(k.local_date AS varchar), k.peak_stage_m, {LOCAL.format("k.peak_at")},
               round(k.above_bd1_h, 1), round(k.above_bd2_h, 1), round(k.above_bd3_h, 1),
               round(k.above_record_h, 1), k.reading_count, k.origin
        FROM published.kpi_flood_alarm k JOIN published.dim_station s ON s.station_id = k.station_id
        ORDER BY s.name_vi, k.local_date
        """,
    ),
    Chapter(
        "Giờ giao thông xấu nhất — Worst traffic hours",
        ("Nút", "Làn", "Giờ", "Tốc độ (km/h)", "Tự do (km/h)", "Chỉ số thời gian", "Chiếm dụng (%)", "Nguồn gốc"),
        f"""
        SELECT d.name_vi, k.lane_no, {LOCAL.format("k.hour_start_at")}, k.mean_speed_kmh,
               round(k.free_flow_speed_kmh, 1), round(k.travel_time_index, 2), k.occupancy_pct, k.origin
        FROM published.kpi_traffic_hour k JOIN published.code_detectors d ON d.detector_id = k.detector_id
        WHERE k.travel_time_index IS NOT NULL
        ORDER BY k.travel_time_index DESC, k.hour_start_at LIMIT 3
        """,
    ),
    Chapter(
        "Phản ánh hiện trường — Citizen feedback, all months",
        ("Cơ quan", "Phản ánh", "Đã xử lý", "Xử lý (%)", "Đúng hạn (%)", "Hài lòng (%)", "Nguồn gốc"),
        """
        SELECT a.name_vi, sum(k.ticket_count), sum(k.closed_count),
               round(100e0 * sum(k.closed_count) / sum(k.ticket_count), 1),
               round(100e0 * sum(k.on_time_count) / nullif(sum(k.closed_count), 0), 1),
               round(100e0 * sum(k.satisfied_count) / nullif(sum(k.rated_count), 0), 1), max(k.origin)
        FROM published.kpi_feedback_month k JOIN published.code_agencies a ON a.code = k.agency_id
        GROUP BY a.name_vi ORDER BY 2 DESC
        """,
    ),
)


def tell(query: Query, console: Console) -> None:
    """Print every chapter; a chapter without rows says so."""
    for chapter in CHAPTERS:
        rows = query(chapter.sql)
        table = Table(*chapter.headings, title=chapter.title, title_justify="left")
        for row in rows:
            table.add_row(*("—" if value is None else str(value) for value in row))
        console.print(table if rows else f"{chapter.title}: chưa có số liệu (no rows)")
