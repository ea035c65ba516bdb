"""The domains of the city's data: what they are called, and their theme in the EU's data theme vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.contracts.errors import Untranslatable
from pipelines.contracts.model import Dataset, Text


@dataclass(frozen=True)
class Domain:
    """A domain: its name, and the code of its theme (``…/authority/data-theme/<theme>``)."""

    title: Text
    theme: str


def _domain(vi: str, en: str, theme: str) -> Domain:
    return Domain(Text(vi=vi, en=en), theme)


DOMAINS: Mapping[str, Domain] = {
    "camera": _domain("Camera và trí tuệ nhân tạo", "Cameras and AI", "JUST"),
    "common": _domain("Dữ liệu dùng chung", "Shared reference data", "REGI"),
    "culture": _domain("Văn hoá, thể thao và du lịch", "Culture, sports and tourism", "EDUC"),
    "education": _domain("Giáo dục", "Education", "EDUC"),
    "energy": _domain("Điện và chiếu sáng", "Electricity and lighting", "ENER"),
    "environment": _domain("Môi trường", "Environment", "ENVI"),
    "finance": _domain("Kinh phí", "Funding", "ECON"),
    "flood": _domain("Ngập lụt và thuỷ văn", "Floods and hydrology", "ENVI"),
    "governance": _domain("Điều hành và báo cáo", "Governance and reporting", "GOVE"),
    "health": _domain("Y tế", "Health", "HEAL"),
    "institution": _domain("Thể chế", "Institutions", "GOVE"),
    "iot": _domain("Thiết bị IoT", "IoT devices", "TECH"),
    "planning": _domain("Quy hoạch, xây dựng và đất đai", "Planning, construction and land", "REGI"),
    "platform": _domain("Nền tảng dữ liệu", "Data platform", "TECH"),
    "security": _domain("An toàn thông tin", "Information security", "TECH"),
    "services": _domain("Dịch vụ công và phản ánh", "Public services and feedback", "GOVE"),
    "training": _domain("Đào tạo", "Training", "EDUC"),
    "transport": _domain("Giao thông", "Transport", "TRAN"),
}
"""Every domain by the name of its folder below ``schemas/datasets``."""


def domain_of(dataset: Dataset) -> Domain:
    """The domain of a dataset.

    Raises:
        Untranslatable: nobody has named it, so no catalogue can show it.
    """
    try:
        return DOMAINS[dataset.domain]
    except KeyError:
        reason = "it has no name; add a line to pipelines/contracts/domains.py"
        raise Untranslatable(dataset.id, f"the domain {dataset.domain!r}", "the catalogue", reason) from None
