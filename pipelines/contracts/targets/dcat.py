"""DCAT-AP 3: the catalogue of all datasets for data portals, as JSON-LD and Turtle.

The JSON-LD is written here and parsed by rdflib into the graph that becomes Turtle, so that both say the same. Every
node has a lasting name (``urn:hue:lake:…``): no blank nodes, no random order. Personal and sensitive datasets are
described, so that it is known that they exist, without a distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from pipelines.contracts import durations
from pipelines.contracts.catalogue import agency, in_order, inputs, legal_bases, source_kind, urn
from pipelines.contracts.domains import DOMAINS, domain_of
from pipelines.contracts.model import QC_TESTS, Dataset, Text
from pipelines.contracts.registry import Registry
from pipelines.contracts.rendering import header, json_file
from pipelines.contracts.support import Support, elsewhere, native
from pipelines.contracts.targets.dcat_vocabulary import ACCESS, CONTEXT, EU, JSON_TYPE, concepts, eu, frequency
from pipelines.contracts.targets.trino import is_granted

TARGET = "dcat"
BASE_URL = "https://data.hue.example"
"""Where distributions are found unless an installation says otherwise; no such host exists (RFC 2606)."""

SUPPORT: Mapping[str, Support] = {
    # A catalogue says that a dataset exists and how often it is renewed; columns and rules stand in its contract.
    **native("freshness"),
    **elsewhere("odcs", "columns", "type", "required", "key_known", "key_unique", "code_list", "range"),
    **elsewhere("odcs", "row_count", "completeness", "comparison", "required_when", "pattern"),
    **elsewhere("odcs", "unique", "share", "total", *QC_TESTS),
}
"""Every kind of rule that a contract can hold, and where it is said."""

FOLDERS = ("catalog/dcat",)
"""The folders, relative to the project root, in which a generated file that nobody asks for is an orphan."""

_PUBLISHER, _HUE, _SERVICE = urn("agency", "H57"), urn("place", "hue"), urn("service", "api")
_PROVENANCE: Mapping[str, Text] = {
    "stream": Text(vi="Nhận trực tiếp từ thiết bị qua cửa tiếp nhận.", en="Received live from devices by the gateway."),
    "sector": Text(vi="Đọc từ cơ sở dữ liệu của ngành.", en="Read from the database of the sector."),
    "derived": Text(vi="Tính ngay khi số liệu đến.", en="Computed as the data arrive."),
    "mart": Text(vi="Tính từ số liệu đã chốt.", en="Computed from settled data."),
}


def render(registry: Registry, base_url: str = BASE_URL) -> Mapping[str, str]:
    """The catalogue in both forms, path relative to the project root → text.

    Raises:
        Untranslatable: a dataset of a domain that has no name and theme.
    """
    from rdflib import Graph

    text = json_file({"@context": CONTEXT, "@graph": list(nodes(registry, base_url))}, "notice")
    turtle = Graph().parse(data=text, format="json-ld").serialize(format="turtle")
    return {"catalog/dcat/catalog.jsonld": text, "catalog/dcat/catalog.ttl": f"# {header(turtle)}\n{turtle}"}


def nodes(registry: Registry, base_url: str = BASE_URL) -> Iterator[dict[str, Any]]:
    """Every node of the catalogue: itself, what it refers to, then series, datasets and distributions.

    Raises:
        Untranslatable: as :func:`render`.
    """
    datasets = in_order(registry)
    offered = [dataset for dataset in datasets if _is_offered(dataset)]
    domains = {dataset.domain: domain_of(dataset) for dataset in datasets}
    yield _catalogue(datasets)
    yield _service(offered, base_url)
    yield _city(registry)
    yield {"id": _PUBLISHER, "type": "foaf:Agent", "name": {"vi": "Thành phố Huế", "en": "City of Huế"}}
    for code in sorted({dataset.owner for dataset in datasets}):
        yield {"id": urn("agency", code), "type": "foaf:Agent", "name": _in_both(agency(code, registry))}
    for code, row in sorted({row["code"]: row for d in datasets for row in legal_bases(d, registry)}.items()):
        title = {"vi": f"{row['name_vi']} ({row['document']})", "en": row["name_en"]}
        yield {"id": urn("legal_basis", code), "type": "eli:LegalResource", "title": title}
    yield from concepts(datasets)
    for kind in sorted({source_kind(dataset) for dataset in datasets}):
        yield {"id": urn("provenance", kind), "type": "dct:ProvenanceStatement", "label": _in_both(_PROVENANCE[kind])}
    for name, domain in sorted(domains.items()):
        described = Text(vi=f"Các bộ dữ liệu của miền {name}.", en=f"The datasets of the domain {name}.")
        yield {
            "id": urn("series", name),
            "type": "dcat:DatasetSeries",
            "title": _in_both(domain.title),
            "description": _in_both(described),
            "publisher": _PUBLISHER,
            "spatial": _HUE,
        }
    for dataset in datasets:
        yield _dataset(dataset, registry, base_url)
        yield {"id": _page(dataset, base_url), "type": "foaf:Document", "title": _in_both(dataset.title)}
        if _is_offered(dataset):
            yield _distribution(dataset, base_url)


def _catalogue(datasets: tuple[Dataset, ...]) -> dict[str, Any]:
    about = Text(
        vi="Mọi bộ dữ liệu của thành phố Huế: hợp đồng, chủ quản, quyền truy cập và nơi truy vấn.",
        en="Every dataset of the city of Huế: its contract, owner, access rights and where to query it.",
    )
    return {
        "id": urn("catalogue", "hue"),
        "type": "dcat:Catalog",
        "title": {"vi": "Danh mục dữ liệu đô thị Huế", "en": "Catalogue of the urban data of Huế"},
        "description": _in_both(about),
        "publisher": _PUBLISHER,
        "language": [eu("language", code) for code in ("VIE", "ENG")],
        "spatial": _HUE,
        "themeTaxonomy": f"{EU}/data-theme",
        "service": _SERVICE,
        "dataset": [urn("dataset", dataset.id) for dataset in datasets],
    }


def _service(offered: list[Dataset], base_url: str) -> dict[str, Any]:
    return {
        "id": _SERVICE,
        "type": "dcat:DataService",
        "title": {"vi": "Dịch vụ dữ liệu đã công bố", "en": "Service of the published data"},
        "endpointURL": f"{base_url}/api/v1",
        "endpointDescription": f"{base_url}/catalog/openapi.yaml",
        "servesDataset": [urn("dataset", dataset.id) for dataset in offered],
    }


def _city(registry: Registry) -> dict[str, Any]:
    """Huế: the rectangle around its wards and communes."""
    rows = registry.code_list("wards").rows
    west, south = (min(Decimal(row[name]) for row in rows) for name in ("min_lon_deg", "min_lat_deg"))
    east, north = (max(Decimal(row[name]) for row in rows) for name in ("max_lon_deg", "max_lat_deg"))
    ring = f"{west} {south}, {east} {south}, {east} {north}, {west} {north}, {west} {south}"
    name = {"vi": "Thành phố Huế", "en": "Huế"}
    return {"id": _HUE, "type": "dct:Location", "prefLabel": name, "bbox": f"POLYGON(({ring}))"}


def _dataset(dataset: Dataset, registry: Registry, base_url: str) -> dict[str, Any]:
    said = dataset.description
    english = " ".join(part for part in (said.purpose.en, said.usage, said.limitations) if part)
    known = {other.id for other in registry.datasets}
    node: dict[str, Any] = {
        "id": urn("dataset", dataset.id),
        "type": "dcat:Dataset",
        "identifier": dataset.id,
        "title": _in_both(dataset.title),
        "description": {"vi": said.purpose.vi, "en": english},
        "version": dataset.version,
        "publisher": urn("agency", dataset.owner),
        "theme": eu("data-theme", DOMAINS[dataset.domain].theme),
        "inSeries": urn("series", dataset.domain),
        "accessRights": eu("access-right", ACCESS[dataset.classification]),
        "accrualPeriodicity": eu("frequency", frequency(dataset)),
        "temporalResolution": durations.iso(dataset.stream.cadence) if dataset.stream else None,
        "spatial": _HUE,
        "applicableLegislation": [urn("legal_basis", code) for code in dataset.legal_basis] or None,
        "provenance": urn("provenance", source_kind(dataset)),
        "source": [urn("dataset", name) for name in inputs(dataset) if name in known] or None,
        "page": _page(dataset, base_url),
        "distribution": _distribution_id(dataset) if _is_offered(dataset) else None,
    }
    return {name: value for name, value in node.items() if value is not None}


def _distribution(dataset: Dataset, base_url: str) -> dict[str, Any]:
    return {
        "id": _distribution_id(dataset),
        "type": "dcat:Distribution",
        "title": {"vi": f"{dataset.title.vi}: các dòng đã công bố", "en": f"{dataset.title.en}: published rows"},
        "accessURL": f"{base_url}/api/v1/published/{dataset.id}",
        "accessService": _SERVICE,
        "format": eu("file-type", "JSON"),
        "mediaType": JSON_TYPE,
    }


def _page(dataset: Dataset, base_url: str) -> str:
    return f"{base_url}/catalog/{dataset.domain}/{dataset.id}"


def _distribution_id(dataset: Dataset) -> str:
    return urn("distribution", f"{dataset.id}.rows")


def _is_offered(dataset: Dataset) -> bool:
    return not dataset.is_protected and any(is_granted(item) for item in dataset.fields)


def _in_both(text: Text) -> dict[str, str]:
    return {"vi": text.vi, "en": text.en}
