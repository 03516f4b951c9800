"""The parts that all OpenAPI documents (3.1) share."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from pattern_metrics.consumer.http.problems import PROBLEM_CONTENT_TYPE

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "An error (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "The fault, for a person."},
    },
}

_HEADERS_OF_ERRORS: Final = {
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."},
    "WWW-Authenticate": {"schema": {"type": "string"}},
    "Accept-Post": {"schema": {"type": "string"}},
}


def reference(name: str) -> dict[str, str]:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def problem_response(description: str, *headers: str, schema: str = "Problem") -> dict[str, Any]:
    """Return the description of a response that is an error.

    Args:
        description: when it is sent.
        headers: the names of its headers.
        schema: the name of its schema.
    """
    response: dict[str, Any] = {
        "description": description,
        "content": {PROBLEM_CONTENT_TYPE: {"schema": reference(schema)}},
    }
    return response | ({"headers": {name: _HEADERS_OF_ERRORS[name] for name in headers}} if headers else {})


def document(
    title: str,
    description: str,
    paths: Mapping[str, Any],
    schemas: Mapping[str, Any],
    *,
    has_tokens: bool,
) -> dict[str, Any]:
    """Return an OpenAPI document.

    Args:
        title: its title.
        description: its description.
        paths: its paths.
        schemas: its schemas by name.
        has_tokens: whether each operation needs a bearer token.
    """
    components: dict[str, Any] = {"schemas": {"Problem": PROBLEM, **schemas}}
    security: dict[str, Any] = {}
    if has_tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        security = {"security": [{"token": []}]}
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": DIALECT,
        "info": {"title": title, "description": description, "version": version("pattern-metrics")},
        **security,
        "paths": dict(paths),
        "components": components,
    }
