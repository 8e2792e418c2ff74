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


async def test_document_tells_the_ranges_of_samplers(connect: Connect) -> None:
    async with connect() as client:
        schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    for name in ("ChatRequest", "CompletionRequest", "ResponseRequest"):
        [number] = [kind for kind in schemas[name]["properties"]["temperature"]["anyOf"] if kind["type"] == "number"]
        assert (number["minimum"], number["maximum"]) == (0, 2)
        assert schemas[name]["additionalProperties"] is False


async def test_body_in_another_encoding_is_told_so(connect: Connect) -> None:
    async with connect() as client:
        reply = await client.post("/v1/tokenize", content=b'"\xff"', headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert "UTF-8" in reply.json()["error"]["message"]
