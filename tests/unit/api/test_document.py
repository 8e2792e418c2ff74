"""The OpenAPI document."""

from __future__ import annotations

from .conftest import Connect


async def test_document_lists_the_errors_that_are_sent_and_no_others(connect: Connect) -> None:
    async with connect() as client:
        document = (await client.get("/openapi.json")).json()
    assert "ValidationError" not in str(document)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"]
            if path.startswith("/v1/"):
                assert {"400", "401", "403", "413", "500"} <= operation["responses"].keys()
