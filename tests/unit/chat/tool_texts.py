"""What models of each format write, as seen from them, and what it says."""

from __future__ import annotations

from dataclasses import dataclass

from localchat.chat.tools import Call

WEATHER = '{"city": "Paris", "unit": "celsius"}'
TIME = '{"zone": "Europe/Paris"}'
NESTED = '{"city": "}{][\\"\\\\", "days": [1, {"a": [true, null]}], "note": "<tool_call> in Z\\u00fcrich 🌧"}'


@dataclass(frozen=True)
class Written:
    """A text with what a reader should find in it."""

    format: str
    text: str
    content: str = ""
    calls: tuple[Call, ...] = ()


ONE = (("get_weather", WEATHER),)
TWO = (("get_weather", WEATHER), ("get_time", TIME))
ODD = (("get_weather", NESTED),)

_JSON = f'{{"name": "get_weather", "arguments": {WEATHER}}}'
_JSON_2 = f'{{"name": "get_time", "arguments": {TIME}}}'
_DS = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"

TEXTS = (
    Written("hermes", f"<tool_call>\n{_JSON}\n</tool_call>", calls=ONE),
    Written(
        "hermes",
        f"Let me look.\n<tool_call>\n{_JSON}\n</tool_call>\n<tool_call>\n{_JSON_2}\n</tool_call>\n",
        "Let me look.",
        TWO,
    ),
    Written("hermes", f'<tool_call>{{"arguments": {WEATHER}, "name": "get_weather"}}</tool_call>', calls=ONE),
    Written("hermes", f'<tool_call>\n{{"name": "get_weather", "arguments": {NESTED}}}\n</tool_call>', calls=ODD),
    Written("hermes", f"<tool_call>\n{_JSON[:-1]}", calls=ONE),
    Written("hermes", f"<tool_call>\n{_JSON}", calls=ONE),
    Written("hermes", f"<tool_call>\n{_JSON}\n</tool_call>\nDone.", "Done.", ONE),
    Written("hermes", '<tool_call>\n{"name": "get_time"}\n</tool_call>', calls=(("get_time", "{}"),)),
    Written("generic", f"<tool_call>[\n{_JSON},\n{_JSON_2}\n]</tool_call>", calls=TWO),
    Written("generic", "<tool_call>[]</tool_call>Nothing to call.", "Nothing to call."),
    Written("generic", "2 < 3, and <tool is no call", "2 < 3, and <tool is no call"),
    Written("llama3", f'{{"name": "get_weather", "parameters": {WEATHER}}}', calls=ONE),
    Written("llama3", f'{{"type": "function", "name": "get_weather", "parameters": {WEATHER}}}', calls=ONE),
    Written("llama3", f'<|python_tag|>{{"name": "get_weather", "parameters": {WEATHER}}}', calls=ONE),
    Written(
        "llama3",
        f'{{"name": "get_weather", "parameters": {WEATHER}}}; {{"name": "get_time", "parameters": {TIME}}}',
        calls=TWO,
    ),
    Written("llama3", '{"city": "Paris"}', '{"city": "Paris"}'),
    Written("llama3", 'In JSON: {"name": "get_weather"}', 'In JSON: {"name": "get_weather"}'),
    Written("mistral", f"[TOOL_CALLS] [{_JSON}, {_JSON_2}]", calls=TWO),
    Written(
        "mistral", f'[TOOL_CALLS][{{"name": "get_weather", "arguments": {WEATHER}, "id": "Xy1234567"}}]', calls=ONE
    ),
    Written("mistral", f"[TOOL_CALLS]{_JSON}", calls=ONE),
    Written("mistral-named", f"[TOOL_CALLS]get_weather[ARGS]{WEATHER}[TOOL_CALLS]get_time[ARGS]{TIME}", calls=TWO),
    Written(
        "functionary", f"<function=get_weather>{WEATHER}</function><function=get_time>{TIME}</function>", calls=TWO
    ),
    Written("functionary", f"I ask.<function=get_weather>{WEATHER}</function>", "I ask.", ONE),
    Written("functionary-recipients", f"get_weather\n{WEATHER}", calls=ONE),
    Written("functionary-recipients", f"all\nI ask.\n>>>get_weather\n{WEATHER}>>>get_time\n{TIME}", "I ask.", TWO),
    Written("functionary-recipients", "all\nParis: 3 >> 2", "Paris: 3 >> 2"),
    Written("granite", f"<|tool_call|>[{_JSON}, {_JSON_2}]", calls=TWO),
    Written("granite", f"<|tool_call|> {_JSON}", calls=ONE),
    Written("phi", f"<|tool_call|>[{_JSON}]<|/tool_call|>", calls=ONE),
    Written("deepseek", f"{_DS}{WEATHER}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", calls=ONE),
    Written(
        "deepseek",
        f"Sure.\n{_DS}{WEATHER}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_time\n```json\n{TIME}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "Sure.",
        TWO,
    ),
    Written(
        "deepseek-v3.1",
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{WEATHER}<｜tool▁call▁end｜><｜tool▁call▁begin｜>get_time<｜tool▁sep｜>{TIME}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        calls=TWO,
    ),
)
"""Calls that can be read, and words that are none."""

BROKEN = (
    ("hermes", '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Par'),
    ("hermes", '<tool_call>\n{"name": "get_weather", "arguments": {"city": Paris}}\n</tool_call>'),
    ("hermes", '<tool_call>\n{"name": "get_weather", "arguments": ["Paris"]}\n</tool_call>'),
    ("hermes", f'<tool_call>\n{{"name": "sing", "arguments": {WEATHER}}}\n</tool_call>'),
    ("hermes", "<tool_call>\nget_weather Paris\n</tool_call>"),
    ("hermes", f'<tool_call>\n{{"arguments": {WEATHER}}}\n</tool_call>'),
    ("hermes", "<tool_call>"),
    ("hermes", "words <tool_ca"),
    ("llama3", '{"name": "get_weather", "parameters": {"city": '),
    ("llama3", '<|python_tag|>brave_search.call(query="Paris")'),
    ("llama3", '{"name": "Bob", "age": 7}'),
    ("mistral", '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": Paris}}]'),
    ("mistral-named", "[TOOL_CALLS]get_weather[ARGS]Paris"),
    ("functionary", "<function=get_weather>Paris</function>"),
    ("functionary", "<function=sing>{}</function>"),
    ("functionary-recipients", "get_weather\nParis"),
    ("granite", "<|tool_call|>get_weather"),
    ("phi", "<|tool_call|>[{}]<|/tool_call|>"),
    ("deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather"),
    ("deepseek-v3.1", "<｜tool▁calls▁begin｜>get_weather"),
)
"""Texts that begin like a call and are none: every character of them is content."""
