"""The tree of errors, as it is and as it is drawn."""

from __future__ import annotations

import re

import pytest

from localchat import errors
from localchat.errors import BY_NAME, LocalchatError, ModelNotFound, Overloaded


def drawn_tree() -> dict[str, str]:
    """Each class of the drawing with the class above it."""
    assert errors.__doc__ is not None
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in errors.__doc__.splitlines():
        if found := re.match(r"    (?P<branches>(?:[│├└ ─]{4})*)(?P<name>[A-Z]\w+)", line):
            depth = len(found["branches"]) // 4
            del above[depth:]
            parents[found["name"]] = above[-1] if above else "Exception"
            above.append(found["name"])
    return parents


def real_tree(cls: type[Exception] = LocalchatError) -> dict[str, str]:
    assert len(cls.__bases__) == 1
    tree = {cls.__name__: cls.__bases__[0].__name__}
    for child in cls.__subclasses__():
        tree |= real_tree(child)
    return tree


def test_drawing_is_the_tree() -> None:
    assert drawn_tree() == real_tree()


def test_drawing_has_the_order_of_the_source() -> None:
    declared = [name for name, value in vars(errors).items() if isinstance(value, type)]
    assert [name for name in drawn_tree() if name in declared] == sorted(drawn_tree(), key=declared.index)


def test_every_error_is_found_by_its_name() -> None:
    assert {name: cls.__name__ for name, cls in BY_NAME.items()} == {name: name for name in real_tree()}


@pytest.mark.parametrize("cls", BY_NAME.values(), ids=BY_NAME)
def test_error_keeps_its_message_and_param(cls: type[LocalchatError]) -> None:
    error = cls("top_k must be positive", param="top_k")
    assert (str(error), error.message, error.param) == ("top_k must be positive",) * 2 + ("top_k",)
    assert cls("no field is at fault").param is None


@pytest.mark.parametrize("cls", BY_NAME.values(), ids=BY_NAME)
def test_error_says_what_it_is_for(cls: type[LocalchatError]) -> None:
    assert cls.__doc__


@pytest.mark.parametrize("cls", [cls for cls in BY_NAME.values() if issubclass(cls, Overloaded)])
def test_overload_says_when_to_try_again(cls: type[Overloaded]) -> None:
    assert cls("wait").retry_after >= 1


def test_branch_can_be_caught_whole() -> None:
    with pytest.raises(errors.RequestError):
        raise ModelNotFound("no such model")
