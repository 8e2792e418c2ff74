"""All that requests may hold, found from the routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from fastapi.routing import APIRoute
from pydantic import BaseModel

from localchat.api.app import ROUTERS


def takers() -> Iterator[APIRoute]:
    """The routes that take a body."""
    return (route for route in _routes() if route.body_field)


def request_parts() -> set[type[BaseModel]]:
    """Bodies, what is behind the ? of addresses, and every object within these."""
    found: set[type[BaseModel]] = set()
    waiting = [part for route in _routes() for part in _taken(route)]
    while waiting:
        part = waiting.pop()
        if part not in found:
            found.add(part)
            waiting += [inner for field in part.model_fields.values() for inner in _models(field.annotation)]
    return found


def _routes() -> Iterator[APIRoute]:
    return (route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute))


def _taken(route: APIRoute) -> Iterator[type[BaseModel]]:
    fields = [*([route.body_field] if route.body_field else []), *route.dependant.query_params]
    return (model for field in fields for model in _models(field.field_info.annotation))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
