"""Seeded rows of the sample sector database: plausible, Vietnamese, and calibrated to the published baselines.

Nothing here is about a real person. Names and numbers are put together by chance; some belong to the same made-up
reporter in two spellings, as in real registers.
"""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pipelines.contracts.registry import Registry
from pipelines.replay.sample_people import GIVEN, MIDDLES, MOBILE_PREFIXES, SURNAMES

Row = dict[str, Any]

FIRST_DAY = datetime(2025, 1, 1, tzinfo=UTC)
LAST_DAY = datetime(2025, 11, 10, tzinfo=UTC)
TICKETS, ASSETS, FACILITIES = 2000, 400, 12
"""Rows at scale 1 (prices: facilities × services, some with an older price)."""
FACILITY_REGISTER = "facility"
"""The dataset whose facilities the prices belong to, where the registry has it; its ids start at YT001."""
OPEN_SHARE, DISSATISFIED_SHARE = 0.015, 0.06
"""Below the 2 % and 8 % that the published baselines leave (processed > 98 %, satisfied > 92 %)."""
RATED_SHARE = 0.6
_TEXTS = {
    "environment": ("Rác thải ùn ứ nhiều ngày chưa được thu gom", "Đốt rác gây khói khét trong khu dân cư"),
    "traffic": ("Ổ gà lớn giữa làn xe, dễ gây tai nạn", "Đèn tín hiệu không hoạt động giờ cao điểm"),
    "urban_order": ("Lấn chiếm vỉa hè để buôn bán", "Tiếng ồn karaoke sau 22 giờ"),
    "lighting": ("Đèn đường tắt nhiều đêm liền", "Cột đèn nghiêng sau mưa lũ"),
    "water": ("Cống thoát nước bị nghẹt, đường ngập", "Mất nước sinh hoạt từ sáng"),
    "health": ("Thời gian chờ khám quá lâu", "Đề nghị phun thuốc diệt muỗi"),
    "education": ("Cổng trường ùn tắc giờ tan học", "Sân trường ngập sau lũ, cần hỗ trợ"),
    "public_service": ("Hồ sơ trực tuyến chậm trả kết quả", "Không đăng nhập được cổng dịch vụ công"),
}
_AGENCIES = {
    "environment": "H57.NNMT",
    "traffic": "H57.XD",
    "urban_order": "H57.CA",
    "lighting": "H57.XD",
    "water": "H57.XD",
    "health": "H57.YT",
    "education": "H57.GDDT",
    "public_service": "H57.VP",
}
_ROADS = (
    "Lê Lợi", "Hùng Vương", "Nguyễn Huệ", "Bà Triệu", "Trần Phú", "Duy Tân", "Ngự Bình", "Võ Nguyên Giáp",
    "Tố Hữu", "Hoàng Quốc Việt", "Đinh Tiên Hoàng", "Kim Long", "Bùi Thị Xuân", "An Dương Vương", "Quốc lộ 1",
)  # fmt: skip
_SERVICES = (
    ("KB01", "Khám bệnh chuyên khoa", 50_600),
    ("XN01", "Tổng phân tích tế bào máu", 49_700),
    ("XN02", "Định lượng glucose máu", 22_400),
    ("CDHA01", "Siêu âm ổ bụng", 58_600),
    ("CDHA02", "Chụp X-quang ngực thẳng", 68_300),
    ("CDHA03", "Chụp cắt lớp vi tính sọ não không cản quang", 550_100),
    ("TT01", "Thay băng vết thương", 64_300),
    ("GB01", "Ngày giường bệnh nội khoa", 257_100),
)


def tickets(registry: Registry, seed: int, count: int) -> list[Row]:
    """Rows of `hues.feedback_ticket` with the clear `reporter_name` and `reporter_phone`, times in UTC.

    Exactly the newest 1.5 % are still open; of the rated ones exactly 6 % have fewer than four stars.
    """
    chance = random.Random(f"tickets|{seed}")
    wards, categories = registry.code_list("wards").codes, registry.code_list("feedback_categories").codes
    people = [_person(chance) for _ in range(max(1, count * 2 // 3))]
    span_s = int((LAST_DAY - FIRST_DAY).total_seconds())
    moments = sorted(FIRST_DAY + timedelta(seconds=chance.randrange(span_s)) for _ in range(count))
    still_open = int(count * OPEN_SHARE)
    closed = range(count - still_open)
    rated = sorted(chance.sample(closed, int(len(closed) * RATED_SHARE)))
    unhappy = set(chance.sample(rated, int(len(rated) * DISSATISFIED_SHARE)))
    rated_set = set(rated)
    rows = []
    for index, created in enumerate(moments):
        category = chance.choice(categories)
        name, phone = chance.choice(people)
        days = chance.choice((3, 5, 7, 10))
        due = created + timedelta(days=days)
        is_closed = index in closed
        handling = timedelta(seconds=chance.randrange(3600, int(days * 86_400 * 1.1)))
        finished = created + handling if is_closed else None
        row: Row = {
            "ticket_id": f"HS{created:%y%m%d}-{index:06d}",
            "created_at": created,
            "updated_at": finished or created + timedelta(minutes=chance.randrange(1, 300)),
            "category_code": category,
            "ward_code": chance.choice(wards),
            "agency_id": _AGENCIES.get(category, "H57.VP"),
            "ticket_status": "closed" if is_closed else chance.choice(("received", "assigned")),
            "due_at": due,
            "closed_at": finished,
            "rating": _rating(chance, index in rated_set, index in unhappy),
            "reporter_name": name if chance.random() < 0.8 else name.upper(),
            "reporter_phone": phone if chance.random() < 0.7 else f"+84 {phone[1:4]} {phone[4:7]} {phone[7:]}",
            "content_text": f"{chance.choice(_TEXTS[category])} tại đường {chance.choice(_ROADS)}.",
        }
        rows.append(row)
    return rows


def assets(registry: Registry, seed: int, count: int) -> list[Row]:
    """Rows of `soxd.road_asset`, each within its ward's extent."""
    chance = random.Random(f"assets|{seed}")
    wards, kinds = registry.code_list("wards").rows, registry.code_list("road_asset_types").codes
    rows = []
    for index in range(count):
        ward = chance.choice(wards)
        built = date(chance.randrange(1995, 2025), chance.randrange(1, 13), chance.randrange(1, 29))
        inspected = date(2025, chance.randrange(1, 11), chance.randrange(1, 29))
        rows.append(
            {
                "asset_id": f"DB{index:05d}",
                "asset_type": chance.choice(kinds),
                "road_name": chance.choice(_ROADS),
                "ward_code": ward["ward_code"],
                "lon_deg": _between(chance, ward["min_lon_deg"], ward["max_lon_deg"]),
                "lat_deg": _between(chance, ward["min_lat_deg"], ward["max_lat_deg"]),
                "condition_score": chance.randrange(35, 101),
                "has_sensor": chance.random() < 0.35,
                "built_date": built,
                "inspected_date": inspected,
                "updated_at": datetime(2025, inspected.month, inspected.day, chance.randrange(24), tzinfo=UTC),
            }
        )
    return rows


def prices(registry: Registry, seed: int, facilities: int) -> list[Row]:
    """Rows of `soyt.med_price`: every facility and service has the price of 2025, half also that of 2024."""
    chance = random.Random(f"prices|{seed}")
    wards = [str(row["name_vi"]) for row in registry.code_list("wards").rows]
    first = 1 if any(d.id == FACILITY_REGISTER for d in registry.datasets) else 0
    rows = []
    for index in range(facilities):
        facility = {
            "facility_id": f"YT{first + index:03d}",
            "facility_name": "Trung tâm Y tế "
            + wards[index % len(wards)]
            + (f" {index // 40 + 1}" if index >= 40 else ""),
        }
        for code, name, base in _SERVICES:
            service = {**facility, "service_code": code, "service_name": name}
            price = Decimal(round(base * chance.uniform(0.9, 1.1) / 100) * 100)
            if chance.random() < 0.5:
                older = Decimal(round(int(price) * 0.92 / 100) * 100)
                rows.append(
                    {**service, "price_vnd": older, "valid_from": date(2024, 1, 1), "valid_to": date(2025, 1, 1)}
                )
            rows.append({**service, "price_vnd": price, "valid_from": date(2025, 1, 1), "valid_to": None})
    return rows


def _rating(chance: random.Random, is_rated: bool, is_unhappy: bool) -> int | None:
    if not is_rated:
        return None
    return chance.choice((1, 2, 3)) if is_unhappy else chance.choice((4, 5, 5))


def _person(chance: random.Random) -> tuple[str, str]:
    name = f"{chance.choice(SURNAMES)} {chance.choice(MIDDLES)} {chance.choice(GIVEN)}"
    return name, f"{chance.choice(MOBILE_PREFIXES)}{chance.randrange(10_000_000):07d}"


def _between(chance: random.Random, low: Any, high: Any) -> Decimal:
    return Decimal(str(round(chance.uniform(float(low), float(high)), 6)))
