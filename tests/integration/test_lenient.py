"""A lenient server answers what it can, and says what it did not know."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Serve
from .serving import MODEL

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi", "mood": "glad"}]}


@pytest.mark.parametrize("lenient", [True, False])
def test_unknown_fields_are_listed_by_a_lenient_server_alone(serve_with: Serve, lenient: bool) -> None:
    server = serve_with(*(["--lenient"] if lenient else []))
    common = {"model": MODEL, "max_tokens": 2, "user": "me", "cache_prompt": True}
    with server.http() as http:
        chat = http.post("/v1/chat/completions", json={**common, **CHAT})
        stream = http.post("/v1/completions", json={**common, "prompt": "Hi", "stream": True})
    if lenient:
        assert (chat.status_code, stream.status_code) == (200, 200)
        assert chat.headers["x-localchat-ignored"] == "cache_prompt,messages[0].mood,user"
        assert stream.headers["x-localchat-ignored"] == "cache_prompt,user"
    else:
        assert [reply.json()["error"]["param"] for reply in (chat, stream)] == ["cache_prompt", "cache_prompt"]
