"""The OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

UNSENT = "422"
UNSENT_SCHEMAS = ("HTTPValidationError", "ValidationError")


def leave_out_unsent(app: FastAPI) -> None:
    """Drop FastAPI's own error for bodies from the document: they are answered with 400 and OpenAI's object."""
    whole = app.openapi

    def openapi() -> dict[str, Any]:
        document = whole()
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"].pop(UNSENT, None)
        for name in UNSENT_SCHEMAS:
            document["components"]["schemas"].pop(name, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
