"""What crosses the process boundary arrives as it was sent."""

from __future__ import annotations

import inspect
from dataclasses import fields
from itertools import pairwise
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.errors import BY_NAME, ContextLengthExceeded, EngineError, LocalchatError
from localchat.lane import Lane
from localchat.outputs import Alternative, Delta, Finish, TokenLogprob
from localchat.sampling_params import SamplingParams
from localchat.worker import messages as m

PARAMS = SamplingParams(
    temperature=1.5,
    top_p=0.5,
    top_k=7,
    min_p=0.25,
    typical_p=0.75,
    top_n_sigma=1.25,
    repeat_penalty=1.5,
    repeat_last_n=-1,
    presence_penalty=-1.0,
    frequency_penalty=2.0,
    dynatemp_range=0.5,
    dynatemp_exponent=2.0,
    mirostat=2,
    mirostat_tau=3.0,
    mirostat_eta=0.25,
    dry_multiplier=0.5,
    dry_base=1.5,
    dry_allowed_length=3,
    dry_penalty_last_n=64,
    dry_sequence_breakers=("\n", "終"),
    xtc_probability=0.5,
    xtc_threshold=0.25,
    logit_bias={5: -100.0, 49_000: 3.5},
    seed=2**32 - 2,
    ignore_eos=True,
)
FINISH = Finish("length", 10, 4, 3, 0.5, 0.25, 1.5, -2.25)
LOGPROB = TokenLogprob(5, b"\xf0\x9f", -0.5, [Alternative(5, b"\xf0\x9f", -0.5), Alternative(9, b"\xff", -1.5)])

REQUESTS: list[m.Request] = [
    m.Load("/a/b.gguf", 4096, 4, 512, 256, 2, 99, "q8_0", True, "auto", False, 100, 64),
    m.Load(
        *("/a/b.gguf", 4096, 4, 512, 256, 2, 99, "q8_0", True, "auto", False, 100, 64),
        draft=m.LoadDraft("/a/small.gguf", 2048, 128, 3),
    ),
    m.Submit(1, "Hällo 👩‍🚀\x00", SamplingParams()),
    m.Submit(2**40, [0, 49_151], PARAMS, 0, ("a", "\n\n"), False, True, 0, True, "prompt"),
    m.Abort([1, 2, 3]),
    m.Tokenize(4, "", True, False),
    m.Detokenize(5, []),
    m.Embed(6, ["text", [1, 2]], "input", Lane.BACKGROUND, "key"),
    m.GetUsage(6),
    m.Shutdown(),
]
REPLIES: list[m.Reply] = [
    m.Loaded(4096, 4, 8192, 49_152, "llama 135M", False, "<s>", "</s>", True, "AVX512 = 1"),
    m.Accepted(1, 300),
    m.Failed(3, "InvalidRequest", "no", "top_k"),
    m.Failed(4, "WorkerDied", "gone"),
    m.Notice("the disk is full"),
    m.Step([Delta(1, "a"), Delta(2, "é", []), Delta(3, "", [LOGPROB, TokenLogprob(1, b"", None, [])], FINISH)]),
    m.Tokens(5, [1, 2]),
    m.Text(6, "\ufffd"),
    m.Vectors(7, b"\x00\x00\x80\x3f", [3]),
    m.UsageReport(7, 1, 2, 3, 4),
]


def name(message: m.Request | m.Reply) -> str:
    return type(message).__name__


def bodies(pieces: list[bytes]) -> list[bytes]:
    unframer = m.Unframer()
    return [body for piece in pieces for body in unframer.feed(piece)]


def split(data: bytes, at: list[int]) -> list[bytes]:
    bounds = [0, *sorted(min(cut, len(data)) for cut in at), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


@pytest.mark.parametrize("message", REQUESTS, ids=name)
def test_request_arrives_as_it_was_sent(message: m.Request) -> None:
    (body,) = bodies([bytes(m.frame(message))])
    assert m.decode_request(body) == message


@pytest.mark.parametrize("message", REPLIES, ids=name)
def test_reply_arrives_as_it_was_sent(message: m.Reply) -> None:
    (body,) = bodies([bytes(m.frame(message))])
    assert m.decode_reply(body) == message


def test_every_message_is_tested() -> None:
    assert {type(message) for message in REQUESTS} == set(get_args(m.Request))
    assert {type(message) for message in REPLIES} == set(get_args(m.Reply))
    declared = {
        kind
        for kind in vars(m).values()
        if inspect.isclass(kind) and issubclass(kind, msgspec.Struct) and kind.__module__ == m.__name__
    }
    assert declared - {m.LoadDraft} == {*get_args(m.Request), *get_args(m.Reply)}


def test_every_sampling_parameter_is_tested_with_a_value_of_its_own() -> None:
    default = SamplingParams()
    assert [f.name for f in fields(PARAMS) if getattr(PARAMS, f.name) == getattr(default, f.name)] == []


def test_whole_numbers_do_for_fractions() -> None:
    message = m.Submit(1, "a", SamplingParams(temperature=0, top_p=1, logit_bias={3: 5}))
    (body,) = bodies([bytes(m.frame(message))])
    assert m.decode_request(body) == message


@given(st.lists(st.binary(max_size=40), max_size=12), st.lists(st.integers(0, 600), max_size=30))
def test_messages_are_the_same_however_the_stream_is_cut(sent: list[bytes], at: list[int]) -> None:
    stream = b"".join(len(body).to_bytes(4, "little") + body for body in sent)
    assert bodies(split(stream, at)) == sent


def test_messages_arrive_byte_by_byte() -> None:
    stream = b"".join(m.frame(message) for message in REPLIES)
    received = [m.decode_reply(body) for body in bodies([bytes([byte]) for byte in stream])]
    assert received == REPLIES


def test_message_comes_as_soon_as_it_is_complete() -> None:
    unframer = m.Unframer()
    data = bytes(m.frame(m.GetUsage(1)))
    assert list(unframer.feed(data[:-1])) == []
    assert list(unframer.feed(data[-1:])) == [data[4:]]


def test_message_that_was_handed_out_does_not_come_again() -> None:
    unframer = m.Unframer()
    one, two = (bytes(m.frame(m.GetUsage(call))) for call in (1, 2))
    assert next(iter(unframer.feed(one + two))) == one[4:]  # whoever reads this one fails over it
    assert list(unframer.feed(b"")) == [two[4:]]


def test_large_message_arrives() -> None:
    message = m.Tokens(1, list(range(200_000)))
    data = bytes(m.frame(message))
    (body,) = bodies([data[start : start + 65_536] for start in range(0, len(data), 65_536)])
    assert m.decode_reply(body) == message


def test_length_that_no_message_has_is_refused() -> None:
    most = m.MAX_MESSAGE - 4
    assert bodies([most.to_bytes(4, "little")]) == []
    with pytest.raises(EngineError, match=f"a message of {m.MAX_MESSAGE + 1} bytes"):
        bodies([(most + 1).to_bytes(4, "little")])
    with pytest.raises(EngineError, match=r"a message of \d+ bytes arrived from the other process"):
        bodies([b"ggml_init: what a library prints"])


@pytest.mark.parametrize("param", [None, "messages"])
@pytest.mark.parametrize("kind", BY_NAME.values(), ids=BY_NAME)
def test_error_crosses_by_name(kind: type[LocalchatError], param: str | None) -> None:
    (body,) = bodies([bytes(m.frame(m.Failed.of(3, kind("what is wrong", param=param))))])
    reply = m.decode_reply(body)
    assert isinstance(reply, m.Failed)
    assert reply.id == 3
    error = reply.exception()
    assert type(error) is kind
    assert (error.message, str(error), error.param) == ("what is wrong", "what is wrong", param)


def test_error_of_another_version_is_an_engine_error() -> None:
    error = m.Failed(1, "FromTheFuture", "words", "top_k").exception()
    assert type(error) is EngineError
    assert (error.message, error.param) == ("words", "top_k")


def test_failed_names_its_error() -> None:
    assert m.Failed.of(1, ContextLengthExceeded("long", param="messages")) == m.Failed(
        1, "ContextLengthExceeded", "long", "messages"
    )
