"""Templates come with weights from strangers: what they may do, and that nothing else gets far."""

from __future__ import annotations

import re
from typing import Any

import pytest

from localchat.chat import sandbox
from localchat.chat.sandbox import Program
from localchat.errors import TemplateError


def render(source: str, **variables: Any) -> str:
    return Program(source).render(**variables)


def refusal(source: str, **variables: Any) -> str:
    with pytest.raises(TemplateError) as caught:
        render(source, **variables)
    return str(caught.value)


# What templates use.


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ messages[0]['content'] }}{{ messages[0].role }}", "hiuser"),
        ("{%- for m in messages %}{{ loop.index0 }}{{ m.role }}{% endfor -%}", "0user1tool"),
        ("{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% endfor %}", "1/2False 2/2True "),
        ("{% for m in messages %}{{ loop.revindex }}{{ loop.first }}{{ loop.nextitem.role }} {% endfor %}", None),
        ("{% for m in messages[::-1] if m.role == 'user' %}{{ m.content }}{% else %}none{% endfor %}", "hi"),
        ("{% for m in nothing %}x{% else %}none{% endfor %}", "none"),
        ("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "a1b2"),
        ("{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "13"),
        ("{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}", "1"),
        ("{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is sequence else x }}{% endfor %}", "123"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        ("{% macro say(x, y='!') %}{{ x }}{{ y }}{% endmacro %}{{ say('a') }}{{ say('b', y='?') }}", "a!b?"),
        ("{% filter upper %}a{{ 'b' }}{% endfilter %}", "AB"),
        ("{{ messages | map(attribute='role') | join(', ') | title }}", "User, Tool"),
        ("{{ messages | selectattr('role', 'equalto', 'tool') | list | length }}", "1"),
        ("{{ ' a b '.strip().split(' ') | join('-') }}{{ 'abc'[1:] }}{{ 'a' in 'abc' }}", "a-bbcTrue"),
        ("{{ '-' * 3 + 'x' ~ 1 }}{{ 'x' | indent(2, true) }}{{ 2 ** 10 * 3 % 7 }}", "---x1  x6"),
        ("{{ '%s=%05d' % ('a', 42) }}{{ '{}:{:>3}'.format('b', 7) }}{{ '%s' | format(1) }}", "a=00042b:  71"),
        ("{% for i in range(3) %}{{ i }}{% endfor %}{{ range(2) | list }}", "012[0, 1]"),
        ("{{ {'a': '<é>', 'b': [1, none, true]} | tojson }}", '{"a": "<é>", "b": [1, null, true]}'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{{ missing.attribute.of.nothing }}{{ missing is defined }}", "False"),
        ("{{ strftime_now('%Y') | length }}", "4"),
        ("{%- if true %}\n  x\n{%- endif %}", "  x"),
        ("{% if messages[0].pop is defined %}y{% else %}n{% endif %}", "n"),
    ],
)
def test_what_templates_use_works(source: str, text: str | None) -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "tool", "content": "{}"}]
    assert render(source, messages=messages) == (text or "2Truetool 1False ")


def test_template_may_refuse_in_its_own_words() -> None:
    assert refusal("{{ raise_exception('Roles must alternate') }}").endswith("conversation: Roles must alternate")


def test_render_does_not_change_its_variables_or_remember_them() -> None:
    program = Program("{% set seen = messages | length %}{{ seen }}{{ other }}")
    assert program.render(messages=[1, 2], other="x") == "2x"
    assert program.render(messages=[1]) == "1"


# What does not compile.


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("{% for %}", 1),
        ("a\nb\n{{ unclosed", 3),
        ("\n{% if x %}", 2),
        ("{% endfor %}", 1),
        ("\n\n{{ 1 | no_such_filter }}", 3),
        ("{{ 1 is no_such_test }}", 1),
        ("{% do x %}", 1),
        ("{{ 'a' 'b' | }}", 1),
    ],
)
def test_broken_template_is_refused_with_its_line(source: str, line: int) -> None:
    with pytest.raises(TemplateError, match=f"^the chat template does not compile: line {line}: ."):
        Program(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% break %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{% if 1 %}" * 500 + "{% endif %}" * 500,
        "x" * (sandbox.MAX_SOURCE + 1),
    ],
    ids=["break outside a loop", "parentheses", "blocks", "length"],
)
def test_template_that_python_cannot_compile_is_refused(source: str) -> None:
    with pytest.raises(TemplateError):
        Program(source)


# What goes wrong with these messages.


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 / 0 }}",
        "{{ 'a' + 1 }}",
        "{{ messages[5].x.y.z() }}",
        "{{ nothing() }}",
        "{% for x in 5 %}{% endfor %}",
        "{{ [1, 'a'] | sort }}",
        "{{ [1] | tojson(default=1) }}",
        "{{ namespace(a=1) | tojson }}",
        "{{ strftime_now(5) }}",
        "{{ '\\ud800'.encode() }}",
        "{{ 'abc'.index('z') }}",
        "{{ 1e300 * 1e300 % 0 }}",
    ],
)
def test_failure_refuses_the_conversation(source: str) -> None:
    assert "the chat template refuses this conversation: " in refusal(source, messages=[])


# What reaches for more than it is given.


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ '' | attr('__class__') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ [''] | map(attribute='__class__') | list }}",
        "{{ '{0.__class__}'.format('') }}",
        "{{ '{a.__class__}'.format_map({'a': 1}) }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__code__ }}",
        "{{ namespace.__init__ }}",
        "{{ messages.__len__() }}",
        "{{ self._TemplateReference__context }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    ],
)
def test_attributes_of_the_machinery_are_out_of_reach(source: str) -> None:
    assert re.search("the chat template reaches for _", refusal(source, messages=[]))


@pytest.mark.parametrize(
    "source",
    [
        "{% set _ = messages.append(1) %}",
        "{% set _ = messages[0].update(role='system') %}",
        "{% set _ = messages[0].clear() %}",
        "{% include 'secrets' %}",
        "{% import '/etc/passwd' as x %}",
        "{% extends 'x' %}",
        "{% from 'x' import y %}",
    ],
)
def test_messages_and_files_are_out_of_reach(source: str) -> None:
    messages = [{"role": "user"}]
    refusal(source, messages=messages)
    assert messages == [{"role": "user"}]


# What runs away.

DOUBLING = "{%% set ns = namespace(s=%s) %%}{%% for i in range(60) %%}{%% set ns.s = %s %%}{%% endfor %%}{{ ns.s }}"


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(1000000000) %}x{% endfor %}",
        "{{ range(1000000000) | list }}",
        "{% for i in range(10**30) %}x{% endfor %}",
        "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}",
        "{% set l = range(1000) | list %}{% for a in l %}{% for b in l %}{% endfor %}{% endfor %}",
        "{% set s = 'x' * 1000 %}{% for a in s %}{% for b in s %}{{ a }}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{% set l = range(100000) | list %}{% for x in [1] * 9 recursive %}{{ loop(l) if loop.depth < 3 }}{% endfor %}",
    ],
)
def test_loops_end(source: str) -> None:
    assert re.search(r"the chat template (loops|takes) more than|: Python int too large", refusal(source))


@pytest.mark.parametrize(
    "source",
    [
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% block a %}{{ self.a() }}{% endblock %}",
    ],
)
def test_recursion_ends(source: str) -> None:
    assert refusal(source) == "the chat template runs away: RecursionError"


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10**9 }}",
        "{{ 'a' * 1000000000 }}",
        "{{ 1000000000 * 'a' }}",
        "{{ [1] * 1000000000 }}",
        "{% set x = 'a' * 1000000 %}{% set y = x * 1000000 %}{{ y }}",
        "{{ 2 ** (10 ** 6) }}",
        "{{ 2 ** 64 ** 64 }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ 'a' | indent(1000000000, first=true) }}",
        "{{ 'a' | indent(first=true, width=1000000000) }}",
        "{{ [1] | tojson(indent=1000000000) }}",
        "{{ [1] | batch(1000000000, 0) | list }}",
        "{{ [1] | slice(1000000000) | list }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{a:1000000000}'.format_map({'a': 1}) }}",
        "{{ lipsum(n=1000000) }}",
        DOUBLING % ("'a' * 99", "ns.s ~ ns.s"),
        DOUBLING % ("'a' * 99", "ns.s + ns.s"),
        DOUBLING % ("'a' * 99", "[ns.s, ns.s] | join"),
        DOUBLING % ("'a' * 99", "''.join([ns.s, ns.s])"),
        DOUBLING % ("'a' * 99", "ns.s.replace('a', 'aa')"),
        DOUBLING % ("2", "ns.s * ns.s"),
        DOUBLING % ("2", "ns.s ** 2"),
        "{% set x = 'a' * 1000000 %}{% for i in range(1000) %}{{ x }}{% endfor %}",
    ],
)
def test_little_does_not_become_much(source: str) -> None:
    refusal(source)


def test_each_render_has_a_budget_of_its_own() -> None:
    program = Program("{% for a in range(400) %}{% for b in range(400) %}{% endfor %}{% endfor %}done")
    assert [program.render(), program.render(), program.render(), program.render()] == ["done"] * 4


def test_long_conversation_is_within_the_budget() -> None:
    source = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content | trim }}{% endif %}{% endfor %}"
    messages = [{"role": "user", "content": "x" * 1000}] * 10_000
    assert len(render(source, messages=messages)) == 10_000 * 1000
