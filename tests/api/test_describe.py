"""The generated description is whole, and the page that shows it loads nothing from elsewhere."""

import re
from typing import Any

import pytest
from django.contrib.admindocs.views import simplify_regex
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator

from agenthub_site import openapi_examples
from agenthub_site.api import router
from agenthub_site.hot import ROUTES


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    with GENERATOR_STATS.silence():
        made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return made


def test_the_schema_is_generated_without_a_warning() -> None:
    GENERATOR_STATS.reset()
    SchemaGenerator().get_schema(request=None, public=True)
    assert not GENERATOR_STATS._warn_cache and not GENERATOR_STATS._error_cache


def test_every_route_is_in_the_schema(schema: dict[str, Any]) -> None:
    described = {re.sub(r"\{\w+\}", "{}", path) for path in schema["paths"]}
    for route in router.urls:
        path = re.sub(r"<\w+>", "{}", simplify_regex(str(route.pattern)))
        assert f"/api/v1{path}" in described


def test_live_doors_and_refusals_are_described(schema: dict[str, Any]) -> None:
    for route in ROUTES:
        if route.shape:  # another protocol, which describes itself
            continue
        operation = schema["paths"][route.path][route.method.lower()]
        assert operation["operationId"] == route.name and operation["summary"] == route.summary
        named = ["id"] if "{id}" in route.path else []
        named += [name for name, _, _ in route.parameters]
        assert [parameter["name"] for parameter in operation["parameters"]] == named
    for path in schema["paths"].values():
        assert all("default" in operation["responses"] for operation in path.values())


def test_operations_have_names_of_their_own(schema: dict[str, Any]) -> None:
    names = [operation["operationId"] for path in schema["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))


def operations(schema: dict[str, Any]) -> dict[str, Any]:
    return {operation["operationId"]: operation for path in schema["paths"].values() for operation in path.values()}


def test_every_example_belongs_to_an_operation(schema: dict[str, Any]) -> None:
    assert {*openapi_examples.REQUESTS, *openapi_examples.ANSWERS} <= set(operations(schema))


@pytest.mark.parametrize("name", sorted(openapi_examples.REQUESTS))
def test_an_example_of_a_request_has_the_fields_it_may_have(schema: dict[str, Any], name: str) -> None:
    media = operations(schema)[name]["requestBody"]["content"]["application/json"]
    shape = resolved(schema, media["schema"])
    for example in media["examples"].values():
        assert set(shape.get("required", ())) <= set(example["value"]) <= set(shape["properties"])


@pytest.mark.parametrize("name", sorted(openapi_examples.ANSWERS))
def test_an_example_of_an_answer_has_the_fields_it_has(schema: dict[str, Any], name: str) -> None:
    answer = next(iter(operations(schema)[name]["responses"].values()))["content"]["application/json"]
    assert_same_fields(schema, answer["schema"], answer["example"])


def assert_same_fields(schema: dict[str, Any], shape: dict[str, Any], value: Any) -> None:
    shape = resolved(schema, shape)
    if isinstance(value, list):
        for item in value:
            assert_same_fields(schema, shape["items"], item)
    elif isinstance(value, dict) and "properties" in shape:
        assert set(value) == set(shape["properties"])
        for name, part in value.items():
            assert_same_fields(schema, shape["properties"][name], part)


def resolved(schema: dict[str, Any], shape: dict[str, Any]) -> dict[str, Any]:
    """The shape itself, where it is named or one of a kind."""
    if "allOf" in shape:
        shape = shape["allOf"][0]
    name = shape.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = schema["components"]["schemas"][name] if name else shape
    return found


@pytest.mark.django_db
@pytest.mark.parametrize("query", ["", "?script="])
def test_the_docs_load_nothing_from_elsewhere(client: Client, query: str) -> None:
    response = client.get(f"/api/docs/{query}", headers={"host": "localhost"})
    assert response.status_code == 200
    assert not re.search(r"(?:src|href)=[\"'](?:https?:)?//", response.content.decode())


@pytest.mark.django_db
def test_the_schema_is_served(client: Client) -> None:
    response = client.get("/api/schema/?format=json", headers={"host": "localhost"})
    assert response.json()["openapi"].startswith("3.")
