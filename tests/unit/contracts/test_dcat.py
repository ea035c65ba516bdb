"""DCAT-AP: the catalogue satisfies the published shapes, says the same in both forms, and offers nothing personal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pyshacl import validate
from rdflib import Graph, URIRef, namespace
from rdflib.compare import isomorphic

from pipelines.contracts.catalogue import urn
from pipelines.contracts.errors import Untranslatable
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import dcat

SHAPES = Path(__file__).parent / "standards" / "dcat-ap-3.0.0-shacl.jsonld"
JSONLD, TURTLE = "catalog/dcat/catalog.jsonld", "catalog/dcat/catalog.ttl"


@pytest.fixture(scope="module")
def graph(registry: Registry) -> Graph:
    return Graph().parse(data=dcat.render(registry)[TURTLE], format="turtle")


def _conforms(graph: Graph) -> tuple[bool, str]:
    # Under RDFS everything is a resource, which the shapes ask of every address.
    found, _, text = validate(graph, shacl_graph=Graph().parse(SHAPES, format="json-ld"), inference="rdfs")
    return bool(found), str(text)


def _copy(graph: Graph) -> Graph:
    copied = Graph()
    copied += graph
    return copied


def test_the_catalogue_of_a_few(few: Registry, golden: Callable[[str, str], None]) -> None:
    files = dcat.render(few)
    golden("catalog.jsonld", files[JSONLD])
    golden("catalog.ttl", files[TURTLE])


def test_it_satisfies_the_shapes_of_dcat_ap(graph: Graph) -> None:
    conforms, text = _conforms(_copy(graph))
    assert conforms, text


@pytest.mark.parametrize("predicate", [namespace.DCTERMS.title, namespace.DCTERMS.description])
def test_the_shapes_refuse_a_dataset_without_what_is_mandatory(few: Registry, predicate: URIRef) -> None:
    broken = Graph().parse(data=dcat.render(few)[TURTLE], format="turtle")
    broken.remove((URIRef(urn("dataset", "river_stage")), predicate, None))
    assert not _conforms(broken)[0]


def test_both_forms_say_the_same_without_blank_nodes(registry: Registry) -> None:
    files = dcat.render(registry)
    linked, turtle = (
        Graph().parse(data=files[path], format=form) for path, form in ((JSONLD, "json-ld"), (TURTLE, "turtle"))
    )
    assert isomorphic(linked, turtle)
    assert all(isinstance(node, URIRef) for node in linked.subjects())
    assert len(set(turtle.subjects(namespace.RDF.type, namespace.DCAT.Dataset))) == len(registry.datasets)


def test_personal_and_sensitive_datasets_are_described_but_not_offered(registry: Registry, graph: Graph) -> None:
    for dataset in registry.datasets:
        node = URIRef(urn("dataset", dataset.id))
        offered = list(graph.objects(node, namespace.DCAT.distribution))
        assert len(offered) == (0 if dataset.is_protected else 1), dataset.id
        right = next(graph.objects(node, namespace.DCTERMS.accessRights))
        expected = {"open": "PUBLIC", "internal": "RESTRICTED"}.get(dataset.classification, "NON_PUBLIC")
        assert str(right).endswith(f"/access-right/{expected}")


def test_a_dataset_has_both_languages_and_its_owner(graph: Graph) -> None:
    node = URIRef(urn("dataset", "river_stage"))
    assert {(str(title), title.language) for title in graph.objects(node, namespace.DCTERMS.title)} == {
        ("Mực nước sông", "vi"),
        ("River stage", "en"),
    }
    owner = next(graph.objects(node, namespace.DCTERMS.publisher))
    assert "Sở Nông nghiệp và Môi trường" in {str(name) for name in graph.objects(owner, namespace.FOAF.name)}


def test_addresses_are_those_of_the_installation(registry: Registry) -> None:
    document = json.loads(dcat.render(registry, "https://lake.test")[JSONLD])
    addresses = {node["accessURL"] for node in document["@graph"] if "accessURL" in node}
    assert addresses and all(url.startswith("https://lake.test/api/v1/published/") for url in addresses)


def test_a_domain_that_nobody_named_is_refused(changed: Callable[..., Registry]) -> None:
    with pytest.raises(
        Untranslatable, match=r"river_stage: the catalogue cannot express the domain 'moon'.*domains\.py"
    ):
        dcat.render(changed("river_stage", domain="moon"))
