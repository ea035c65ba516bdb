"""The words of others in the DCAT catalogue: terms of the vocabularies, and concepts of the EU's authority tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from pipelines.contracts.domains import DOMAINS
from pipelines.contracts.model import Classification, Dataset

EU = "http://publications.europa.eu/resource/authority"
JSON_TYPE = "https://www.iana.org/assignments/media-types/application/json"
ACCESS: Mapping[Classification, str] = {
    "open": "PUBLIC",
    "internal": "RESTRICTED",
    "personal": "NON_PUBLIC",
    "sensitive": "NON_PUBLIC",
}
"""Who may read: the EU's table of access rights."""

_FREQUENCIES: tuple[tuple[timedelta, str], ...] = (
    (timedelta(minutes=1), "1MIN"),
    (timedelta(minutes=5), "5MIN"),
    (timedelta(minutes=10), "10MIN"),
    (timedelta(minutes=15), "15MIN"),
    (timedelta(minutes=30), "30MIN"),
    (timedelta(hours=1), "HOURLY"),
    (timedelta(hours=12), "12HRS"),
    (timedelta(days=1), "DAILY"),
    (timedelta(days=7), "WEEKLY"),
    (timedelta(days=31), "MONTHLY"),
    (timedelta(days=92), "QUARTERLY"),
    (timedelta(days=366), "ANNUAL"),
)

CONTEXT: Mapping[str, Any] = {
    "dcat": "http://www.w3.org/ns/dcat#",
    "dcatap": "http://data.europa.eu/r5r/",
    "dct": "http://purl.org/dc/terms/",
    "eli": "http://data.europa.eu/eli/ontology#",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "geo": "http://www.opengis.net/ont/geosparql#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "id": "@id",
    "type": "@type",
    **{
        name: {"@id": term, "@container": "@language"}
        for name, term in {
            "title": "dct:title",
            "description": "dct:description",
            "name": "foaf:name",
            "label": "rdfs:label",
            "prefLabel": "skos:prefLabel",
        }.items()
    },
    **{
        name: {"@id": f"{prefix}:{name}", "@type": "@id"}
        for prefix, names in {
            "dct": "accessRights accrualPeriodicity format language provenance publisher source spatial",
            "dcat": "accessService accessURL dataset distribution endpointDescription endpointURL inSeries mediaType "
            "servesDataset service theme themeTaxonomy",
            "dcatap": "applicableLegislation",
            "foaf": "page",
            "skos": "inScheme",
        }.items()
        for name in names.split()
    },
    "identifier": "dct:identifier",
    "version": "dcat:version",
    "temporalResolution": {"@id": "dcat:temporalResolution", "@type": "xsd:duration"},
    "bbox": {"@id": "dcat:bbox", "@type": "geo:wktLiteral"},
}
"""The JSON-LD context of the catalogue."""


def eu(table: str, code: str) -> str:
    """The name of a concept in one of the EU's authority tables."""
    return f"{EU}/{table}/{code}"


def frequency(dataset: Dataset) -> str:
    """The EU's slowest step that still holds what is promised; ``IRREG`` where that is longer than a year."""
    promised = dataset.stream.cadence if dataset.stream else dataset.sla.freshness
    return next((code for step, code in _FREQUENCIES if promised <= step), "IRREG")


def concepts(datasets: Iterable[Dataset]) -> Iterator[dict[str, Any]]:
    """The concepts that the catalogue uses, with their class, so that it can be checked by itself."""
    listed = tuple(datasets)
    used: tuple[tuple[str, str, set[str]], ...] = (
        ("data-theme", "skos:Concept", {DOMAINS[dataset.domain].theme for dataset in listed}),
        ("access-right", "dct:RightsStatement", {ACCESS[dataset.classification] for dataset in listed}),
        ("frequency", "dct:Frequency", {frequency(dataset) for dataset in listed}),
        ("language", "dct:LinguisticSystem", {"ENG", "VIE"}),
        ("file-type", "dct:MediaTypeOrExtent", {"JSON"}),
    )
    for table, kind, codes in used:
        for code in sorted(codes):
            concept = {"id": eu(table, code), "type": kind, "prefLabel": {"en": code}}
            yield {**concept, "inScheme": f"{EU}/{table}"}
    yield {"id": f"{EU}/data-theme", "type": "skos:ConceptScheme", "title": {"en": "EU data themes"}}
    yield {"id": JSON_TYPE, "type": "dct:MediaType", "prefLabel": {"en": "application/json"}}
