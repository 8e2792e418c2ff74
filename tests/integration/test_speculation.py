"""Guesses over HTTP: what is told of them, and that answers stay what they are."""

from __future__ import annotations

import httpx

from .conftest import Serve

CODE = "def total(prices):\n    result = 0\n    for price in prices:\n        result += price\n    return result\n"
BODY = {
    "model": "smollm2-135m-instruct",
    "temperature": 0,
    "max_tokens": 40,
    "messages": [{"role": "user", "content": f"Repeat this exactly:\n{CODE}"}],
}


def ask(http: httpx.Client, **fields: object) -> tuple[str, dict[str, int], dict[str, int]]:
    """The answer, what became of the prediction, and the timings."""
    reply = http.post("/v1/chat/completions", json=BODY | fields)
    assert reply.status_code == 200, reply.text
    usage = reply.json()["usage"]
    return reply.json()["choices"][0]["message"]["content"], usage["completion_tokens_details"], usage["timings"]


def test_prediction_that_comes_is_accepted(http: httpx.Client) -> None:
    text, without, _ = ask(http)
    assert without["accepted_prediction_tokens"] == without["rejected_prediction_tokens"] == 0
    again, details, _ = ask(http, prediction={"type": "content", "content": text})
    assert again == text
    assert details["accepted_prediction_tokens"] > 30
    assert details["rejected_prediction_tokens"] < 3


def test_prediction_that_does_not_come_is_rejected(http: httpx.Client) -> None:
    text, _, _ = ask(http)
    parts = [{"type": "text", "text": "Nothing of"}, {"type": "text", "text": " this"}]
    again, details, _ = ask(http, prediction={"type": "content", "content": parts})
    assert again == text
    assert (details["accepted_prediction_tokens"], details["rejected_prediction_tokens"]) == (0, 3)


def test_prediction_is_checked(http: httpx.Client) -> None:
    reply = http.post("/v1/chat/completions", json=BODY | {"prediction": {"type": "content"}})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "prediction.content")


def test_answers_are_the_same_with_a_draft_model(http: httpx.Client, serve_with: Serve) -> None:
    text, _, _ = ask(http)
    with serve_with("--draft", "smollm2-135m-instruct").http() as drafted:
        assert ask(drafted)[0] == text


def test_nothing_is_guessed_where_that_is_switched_off(serve_with: Serve) -> None:
    with serve_with("--speculate", "off").http() as plain:
        assert ask(plain, prediction={"type": "content", "content": CODE})[2]["drafted_tokens"] == 0
