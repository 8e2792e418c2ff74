"""The plain reading of an answer."""

from __future__ import annotations

from localchat.chat.answer import Content, PlainParser


def test_plain_text_is_content() -> None:
    parser = PlainParser()
    assert list(parser.feed("Hello")) == [Content("Hello")]
    assert list(parser.feed("")) == []
    assert list(parser.finish()) == []
