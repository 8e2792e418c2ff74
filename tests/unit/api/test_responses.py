"""`/v1/responses` over HTTP, with a model that does as it is told."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from localchat.chat.model import Manner
from localchat.chat.template import ChatTemplate
from localchat.store import NewObject
from unit.pool.conftest import open_house  # noqa: F401 - a fixture
from unit.pool.house import Script, within

from .talking import TEMPLATE, Json, Listener, Talking, events_of, talking, text_of

Visit = Callable[..., contextlib.AbstractAsyncContextManager[tuple[Talking, httpx.AsyncClient]]]

IMAGE = {"type": "input_image", "image_url": "a"}
TOOL = {
    "type": "function",
    "name": "f",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": True,
}
CALL = 'say Look: <tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
GREETING = {"model": "a", "input": "say hello"}


@pytest.fixture
def visit(open_house: Any, tmp_path: Path) -> Visit:  # noqa: F811
    """A server, and a client of it."""

    @contextlib.asynccontextmanager
    async def enter(**settings: Any) -> AsyncIterator[tuple[Talking, httpx.AsyncClient]]:
        async with talking(open_house, tmp_path, **settings) as there, there.client() as client:
            yield there, client

    return enter


async def post(client: httpx.AsyncClient, path: str = "", **body: Any) -> Json:
    reply = await within(client.post(f"/v1/responses{path}", json={**GREETING, **body}))
    assert reply.status_code == 200, reply.text
    answer: Json = reply.json()
    return answer


async def get(client: httpx.AsyncClient, path: str) -> Json:
    reply = await within(client.get(f"/v1/responses/{path}"))
    assert reply.status_code == 200, reply.text
    answer: Json = reply.json()
    return answer


async def fault(reply: Any) -> tuple[int, str | None, str]:
    """Status, param and message of what should fail."""
    got = await within(reply)
    error = got.json()["error"]
    return got.status_code, error["param"], error["message"]


# Answers


async def test_answer_is_kept_as_it_was_sent(visit: Visit) -> None:
    async with visit() as (_, client):
        sent = await post(client, metadata={"k": "v"}, instructions="Be kind.")
        assert text_of(sent) == "hello"
        assert (sent["status"], sent["model"], sent["store"]) == ("completed", "a", True)
        assert await get(client, sent["id"]) == sent


async def test_events_are_the_answer_that_is_kept(visit: Visit) -> None:
    async with visit() as (_, client):
        reply = await within(client.post("/v1/responses", json={**GREETING, "stream": True}))
        assert reply.headers["content-type"].startswith("text/event-stream")
        events = events_of(reply.text)
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert "".join(event.get("delta", "") for event in events) == "hello"
        last = events[-1]
        assert last["type"] == "response.completed"
        assert await get(client, last["response"]["id"]) == last["response"]


async def test_what_is_not_to_be_stored_is_not(visit: Visit) -> None:
    async with visit() as (_, client):
        sent = await post(client, store=False)
        assert sent["store"] is False
        assert (await fault(client.get(f"/v1/responses/{sent['id']}")))[0] == 404


async def test_server_that_keeps_nothing_says_so(visit: Visit) -> None:
    async with visit(store="off") as (_, client):
        sent = await post(client)
        assert (text_of(sent), sent["store"]) == ("hello", False)
        assert (await fault(client.get(f"/v1/responses/{sent['id']}")))[0] == 404
        for body, param in [
            ({"store": True}, "store"),
            ({"background": True}, "background"),
            ({"previous_response_id": sent["id"]}, "previous_response_id"),
        ]:
            got = await fault(client.post("/v1/responses", json={**GREETING, **body}))
            assert got[:2] == (400, param)


async def test_fields_without_effect_are_listed(visit: Visit) -> None:
    async with visit() as (_, client):
        body = {**GREETING, "user": "u", "include": ["reasoning.encrypted_content"], "reasoning": {"summary": "auto"}}
        reply = await within(client.post("/v1/responses", json=body))
        assert reply.headers["x-localchat-ignored"] == "include[reasoning.encrypted_content],reasoning.summary,user"


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "web_search"),
        ({"tools": [{"type": "custom", "name": "f"}]}, "tools[0].type", "custom"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type", "file_search"),
        ({"tool_choice": "required"}, "tool_choice", "no tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice", "'g'"),
        ({"tools": [{**TOOL, "parameters": {"type": "string"}}]}, "tools[0].parameters", "object"),
        ({"conversation": "conv_1"}, "conversation", "previous_response_id"),
        ({"prompt": {"id": "p"}}, "prompt", "prompts are not kept"),
        ({"include": ["web_search_call.results"]}, "include", "web_search_call.results is not supported"),
        ({"include": ["everything"]}, "include", "unknown"),
        ({"input": []}, "input", "something to answer"),
        ({"input": ""}, "input", "something to answer"),
        ({"input": None}, "input", "input"),
        ({"input": [{"type": "web_search_call", "id": "a", "status": "completed"}]}, "input", "input[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "a"}]}]},
            "input[0].content[0]",
            "input_image",
        ),
        ({"input": [{"role": "robot", "content": "a"}]}, "input[0].role", "robot"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text", "missing"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "1"}]}, "input", "no function_call"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input", "no message"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options", "needs stream"),
        ({"background": True, "store": False}, "background", "stored"),
        ({"metadata": {"k": "x" * 513}}, "metadata", "512"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "16"),
        ({"temperature": 3}, "temperature", "between 0 and 2"),
        ({"top_logprobs": 21}, "top_logprobs", "20"),
        ({"max_output_tokens": 0}, "max_output_tokens", "1"),
        ({"max_tokens": 5}, "max_tokens", "not a field"),
        ({"messages": []}, "messages", "not a field"),
        ({"text": {"format": {"type": "json_schema", "name": "a b", "schema": {}}}}, "text.format.name", "pattern"),
        ({"text": {"verbosity": "low"}}, "text.verbosity", "not supported"),
        ({"truncation": "auto"}, "truncation", "not supported"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(visit: Visit, body: Json, param: str, words: str) -> None:
    async with visit() as (_, client):
        status, named, message = await fault(client.post("/v1/responses", json={**GREETING, **body}))
    assert (status, named) == (400, param), message
    assert words in message


async def test_unknown_model_is_an_error(visit: Visit) -> None:
    async with visit() as (_, client):
        assert (await fault(client.post("/v1/responses", json={**GREETING, "model": "z"})))[:2] == (404, "model")


async def test_what_the_model_has_against_a_request_is_the_reply(visit: Visit) -> None:
    async with visit() as (there, client):
        for stream in (False, True):
            body = {**GREETING, "input": "refuse too long", "stream": stream}
            status, _, message = await fault(client.post("/v1/responses", json=body))
            assert (status, message) == (400, "too long")
        assert there.store
        assert await there.store.page("", "response", _everything()) == ([], False)


def _everything() -> Any:
    from localchat.store import Page

    return Page(100)


async def test_worker_that_dies_under_a_stream_is_a_failed_response_that_is_kept(visit: Visit) -> None:
    async with visit() as (_, client):
        reply = await within(client.post("/v1/responses", json={**GREETING, "input": "die half a", "stream": True}))
        last = events_of(reply.text)[-1]
        assert last["type"] == "response.failed"
        assert last["response"]["error"]["code"] == "server_error"
        assert text_of(last["response"]) == "half a"
        assert await get(client, last["response"]["id"]) == last["response"]


async def test_client_that_leaves_its_stream_cancels_the_response(visit: Visit) -> None:
    async with visit() as (there, client):
        listener = Listener(there.app, "POST", "/v1/responses", {"model": "a", "input": "start half a", "stream": True})
        await there.house.reaches(lambda: b"half a" in listener.sent)
        model = there.house.entry("a").model
        assert model
        listener.leave()
        await within(listener.answering)
        assert not model.worker.is_busy
        id = listener.sent.split(b'"id":"')[1].split(b'"')[0].decode()
        kept = await get(client, id)
        assert (kept["status"], text_of(kept)) == ("cancelled", "half a")
        assert kept["output"][0]["status"] == "incomplete"


async def test_client_that_leaves_a_plain_reply_ends_the_generation(visit: Visit) -> None:
    async with visit() as (there, _):
        listener = Listener(there.app, "POST", "/v1/responses", {"model": "a", "input": "start half a"})
        await there.house.reaches(lambda: there.house.entry("a").model is not None)
        model = there.house.entry("a").model
        assert model
        await there.house.reaches(lambda: model.worker.is_busy)
        listener.leave()
        await within(listener.answering)
        assert not model.worker.is_busy


# Tools


async def test_call_is_an_item_of_its_own(visit: Visit) -> None:
    async with visit() as (_, client):
        sent = await post(client, input=CALL, tools=[TOOL])
        assert [item["type"] for item in sent["output"]] == ["message", "function_call"]
        message, call = sent["output"]
        assert message["content"][0]["text"].strip() == "Look:"
        assert (call["name"], call["arguments"], call["status"]) == ("f", '{"a": 1}', "completed")
        assert (sent["tools"], sent["tool_choice"], sent["status"]) == (
            [{**TOOL, "description": None}],
            "auto",
            "completed",
        )
        reply = await within(
            client.post("/v1/responses", json={**GREETING, "input": CALL, "tools": [TOOL], "stream": True})
        )
        events = events_of(reply.text)
        deltas = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
        assert "".join(deltas) == '{"a": 1}'
        assert [item["type"] for item in events[-1]["response"]["output"]] == ["message", "function_call"]


async def test_what_a_call_gave_goes_on_from_it(visit: Visit) -> None:
    async with visit() as (_, client):
        first = await post(client, input=CALL, tools=[TOOL])
        output = {"type": "function_call_output", "call_id": first["output"][1]["call_id"], "output": "42"}
        after = await post(
            client,
            input=[output, {"role": "user", "content": "recite"}],
            previous_response_id=first["id"],
            tools=[TOOL],
        )
        said = text_of(after)
        assert "Look:" in said
        assert "42" in said


async def test_tools_that_may_not_be_called_are_not(visit: Visit) -> None:
    async with visit() as (_, client):
        sent = await post(client, input=CALL, tools=[TOOL], tool_choice="none")
        assert [item["type"] for item in sent["output"]] == ["message"]


# Conversations


async def test_conversation_goes_on_from_a_kept_response(visit: Visit) -> None:
    async with visit() as (_, client):
        first = await post(client, input="say one", instructions="Forget me.")
        second = await post(client, input="say two", previous_response_id=first["id"])
        third = await post(client, input="recite", previous_response_id=second["id"])
        assert text_of(third) == "[user: say one][assistant: one][user: say two][assistant: two][user: recite]"
        assert third["previous_response_id"] == second["id"]


async def test_conversation_can_fork(visit: Visit) -> None:
    async with visit() as (_, client):
        first = await post(client, input="say one")
        await post(client, input="say two", previous_response_id=first["id"])
        fork = await post(client, input="recite", previous_response_id=first["id"])
        assert text_of(fork) == "[user: say one][assistant: one][user: recite]"


async def test_cancelled_answer_can_be_gone_on_from(visit: Visit) -> None:
    async with visit() as (there, client):
        run = await post(client, input="start half", background=True)
        await there.house.reaches(lambda: there.app.state.runs.find("", run["id"]).writer.response["output"])
        assert (await post(client, f"/{run['id']}/cancel"))["status"] == "cancelled"
        after = await post(client, input="recite", previous_response_id=run["id"])
        assert text_of(after) == "[user: start half][assistant: half][user: recite]"


async def test_items_become_turns(visit: Visit) -> None:
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What "}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "42"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "user", "content": "recite"},
    ]
    async with visit() as (_, client):
        said = text_of(await post(client, input=items))
    assert said == (
        "[user: Be brief.\n\nWhat ]"
        '[assistant: Let me see.\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>]'
        "[user: <tool_response>\n42\n</tool_response>][assistant: No.][user: recite]"
    )


async def test_item_of_a_kept_response_can_be_referred_to(visit: Visit) -> None:
    async with visit() as (_, client):
        first = await post(client, input="say one")
        reference = {"type": "item_reference", "id": first["output"][0]["id"]}
        for item in (reference, {"id": reference["id"]}):
            again = await post(client, input=[item, {"role": "user", "content": "recite"}])
            assert text_of(again) == "[assistant: one][user: recite]"
        lost = await fault(client.post("/v1/responses", json={**GREETING, "input": [{"id": "msg_0"}]}))
        assert lost[:2] == (404, "input")


@pytest.mark.parametrize("id", ["resp_0", "", "chatcmpl-1"])
async def test_unknown_previous_response_is_an_error(visit: Visit, id: str) -> None:
    async with visit() as (_, client):
        reply = await client.post("/v1/responses", json={**GREETING, "previous_response_id": id})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "previous_response_not_found")
        assert reply.json()["error"]["param"] == "previous_response_id"


async def test_conversation_of_which_a_part_was_deleted_is_not_gone_on_with_silently(visit: Visit) -> None:
    async with visit() as (_, client):
        first = await post(client, input="say one")
        second = await post(client, input="say two", previous_response_id=first["id"])
        await client.delete(f"/v1/responses/{first['id']}")
        status, _, message = await fault(
            client.post("/v1/responses", json={**GREETING, "previous_response_id": second["id"]})
        )
        assert status == 400
        assert first["id"] in message


# Kept responses


async def test_deleted_response_is_gone(visit: Visit) -> None:
    async with visit() as (_, client):
        sent = await post(client)
        reply = await client.delete(f"/v1/responses/{sent['id']}")
        assert reply.json() == {"id": sent["id"], "object": "response", "deleted": True}
        for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]:
            status, _, message = await fault(client.request(method, f"/v1/responses/{sent['id']}{path}"))
            assert status == 404
            assert sent["id"] in message


async def test_input_items_are_listed_page_by_page(visit: Visit) -> None:
    async with visit() as (_, client):
        items = [{"role": "user", "content": text} for text in ("one", "two", "say three")]
        sent = await post(client, input=items)
        path = f"{sent['id']}/input_items"
        whole = await get(client, f"{path}?order=asc")
        assert [item["content"][0]["text"] for item in whole["data"]] == ["one", "two", "say three"]
        assert (whole["object"], whole["has_more"]) == ("list", False)
        assert (whole["first_id"], whole["last_id"]) == (whole["data"][0]["id"], whole["data"][-1]["id"])
        newest = await get(client, f"{path}?limit=2")
        assert (newest["data"], newest["has_more"]) == (whole["data"][:0:-1], True)
        rest = await get(client, f"{path}?limit=2&after={newest['last_id']}")
        assert (rest["data"], rest["has_more"]) == (whole["data"][:1], False)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("order=up", "order"),
        ("after=msg_0", "after"),
        ("before=msg_0", "before"),
        ("include[]=web_search_call.results", "include"),
    ],
)
async def test_wrong_query_is_refused_by_name(visit: Visit, query: str, param: str) -> None:
    async with visit() as (_, client):
        sent = await post(client)
        got = await fault(client.get(f"/v1/responses/{sent['id']}/input_items?{query}"))
    assert got[:2] == (400, param)


async def test_each_key_has_its_own_responses(visit: Visit) -> None:
    async with visit(api_key=["ann", "bob"]) as (there, _), there.client("ann") as ann, there.client("bob") as bob:
        sent = await post(ann)
        run = await post(ann, input="start x", background=True)
        for id in (sent["id"], run["id"]):
            for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]:
                assert (await bob.request(method, f"/v1/responses/{id}{path}")).status_code == 404
        for body in (
            {"previous_response_id": sent["id"]},
            {"input": [{"id": sent["output"][0]["id"]}, {"role": "user", "content": "say x"}]},
        ):
            assert (await bob.post("/v1/responses", json={**GREETING, **body})).status_code in (400, 404)
        assert await get(ann, sent["id"]) == sent
        await post(ann, f"/{run['id']}/cancel")


async def test_input_tokens_are_those_of_the_prompt(visit: Visit) -> None:
    async with visit() as (_, client):
        reply = await within(client.post("/v1/responses/input_tokens", json=GREETING))
        # The scripted worker gives a token for each byte, and two that say how it was asked.
        assert reply.json() == {"object": "response.input_tokens", "input_tokens": len("say hello") + 2}


# In the background


async def test_background_response_is_queued_runs_and_can_be_polled(visit: Visit) -> None:
    async with visit() as (there, client):
        run = await post(client, input="start half a", background=True)
        assert (run["status"], run["background"], run["output"]) == ("queued", True, [])
        while not (now := await get(client, run["id"]))["output"]:
            assert now["status"] == "queued"
        assert (now["status"], text_of(now)) == ("in_progress", "half a")
        await post(client, input="end  and the rest", store=False)
        await there.house.reaches(lambda: not len(there.app.state.runs))
        done = await get(client, run["id"])
        assert (done["status"], text_of(done)) == ("completed", "half a and the rest")
        assert done["usage"]
        there.app.state.runs.forget(run["id"])
        assert await get(client, run["id"]) == done


async def test_background_response_can_be_followed_and_followed_again(visit: Visit) -> None:
    async with visit() as (there, client):
        body = {"model": "a", "input": "start half a", "background": True, "stream": True}
        listener = Listener(there.app, "POST", "/v1/responses", body)
        await there.house.reaches(lambda: b"half a" in listener.sent)
        id = listener.sent.split(b'"id":"')[1].split(b'"')[0].decode()
        listener.leave()
        await within(listener.answering)
        follower = Listener(there.app, "GET", f"/v1/responses/{id}", query="stream=true&starting_after=2")
        await there.house.reaches(lambda: b"half a" in follower.sent)
        await post(client, input="end .", store=False)
        await within(follower.answering)
        rest = events_of(follower.sent.decode())
        assert [event["sequence_number"] for event in rest] == list(range(3, rest[-1]["sequence_number"] + 1))
        assert text_of(rest[-1]["response"]) == "half a."
        whole = events_of((await client.get(f"/v1/responses/{id}?stream=true")).text)
        assert whole[3:] == rest
        assert [event["type"] for event in whole[:3]] == [
            "response.created",
            "response.queued",
            "response.in_progress",
        ]


async def test_cancelling_ends_the_generation_and_may_be_done_twice(visit: Visit) -> None:
    async with visit() as (there, client):
        run = await post(client, input="start half a", background=True)
        model = there.house.entry("a").model
        for _ in range(2):
            cancelled = await post(client, f"/{run['id']}/cancel")
            assert (cancelled["status"], cancelled["usage"]) == ("cancelled", None)
            assert await get(client, run["id"]) == cancelled
        there.app.state.runs.forget(run["id"])
        assert await post(client, f"/{run['id']}/cancel") == cancelled
        assert model is None or not model.worker.is_busy


async def test_ended_background_response_stays_as_it_is_when_cancelled(visit: Visit) -> None:
    async with visit() as (there, client):
        run = await post(client, background=True)
        await there.house.reaches(lambda: not len(there.app.state.runs))
        assert (await post(client, f"/{run['id']}/cancel"))["status"] == "completed"


async def test_only_background_responses_can_be_cancelled_or_streamed_again(visit: Visit) -> None:
    async with visit() as (_, client):
        sent = await post(client)
        assert "background" in (await fault(client.post(f"/v1/responses/{sent['id']}/cancel")))[2]
        got = await fault(client.get(f"/v1/responses/{sent['id']}?stream=true"))
        assert got[:2] == (400, "stream")


async def test_background_response_that_comes_to_an_error_has_failed(visit: Visit) -> None:
    async with visit() as (there, client):
        for words, code in [("refuse too long", "invalid_prompt"), ("overflow many wait", "rate_limit_exceeded")]:
            run = await post(client, input=words, background=True)
            await there.house.reaches(lambda: not len(there.app.state.runs))
            failed = await get(client, run["id"])
            assert (failed["status"], failed["error"]["code"]) == ("failed", code)
            after = await fault(client.post("/v1/responses", json={**GREETING, "previous_response_id": run["id"]}))
            assert after[:2] == (400, "previous_response_id")


async def test_background_response_waits_for_its_model(visit: Visit) -> None:
    script = Script(paths={"b": "never loads"}, manner=Manner(template=ChatTemplate(TEMPLATE)))
    async with visit(script=script) as (there, client):
        run = await post(client, model="b", background=True)
        await there.house.reaches(lambda: there.house.entry("b").waiting == 1)
        assert (await get(client, run["id"]))["status"] == "queued"
        assert (await post(client, f"/{run['id']}/cancel"))["status"] == "cancelled"
        assert there.house.entry("b").waiting == 0


async def test_deleting_a_running_response_ends_it(visit: Visit) -> None:
    async with visit() as (there, client):
        run = await post(client, input="start half a", background=True)
        assert (await client.delete(f"/v1/responses/{run['id']}")).status_code == 200
        assert not len(there.app.state.runs)
        assert (await fault(client.get(f"/v1/responses/{run['id']}")))[0] == 404


async def test_response_whose_process_has_ended_has_failed(visit: Visit) -> None:
    async with visit() as (there, client):
        sent = await post(client, background=True)
        await there.house.reaches(lambda: not len(there.app.state.runs))
        there.app.state.runs.forget(sent["id"])
        assert there.store
        body = {**sent, "status": "in_progress"}
        lost = NewObject(
            id=sent["id"], kind="response", model="a", created=1, body=body, inputs=[], runner="999999999:1.00"
        )
        await there.store.put("", lost)
        for _ in range(2):
            found = await get(client, sent["id"])
            assert (found["status"], found["error"]["code"]) == ("failed", "server_error")


async def test_server_that_stops_fails_what_it_has_not_finished(visit: Visit) -> None:
    async with visit() as (there, client):
        run = await post(client, input="start half a", background=True)
        await there.house.reaches(lambda: there.app.state.runs.find("", run["id"]).writer.response["output"])
        await within(there.house.pool.close())
        await within(there.app.state.runs.close())
        failed = await get(client, run["id"])
        assert (failed["status"], text_of(failed)) == ("failed", "half a")
