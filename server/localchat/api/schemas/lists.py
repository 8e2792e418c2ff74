"""Lists: which part of one is asked for, and how it comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from localchat.errors import UnsupportedField
from localchat.store import Page


class QueryFields(BaseModel):
    """What stands behind the ? of an address. Unknown names are errors."""

    model_config = ConfigDict(extra="forbid")


class PageQuery(QueryFields):
    """Which part of a list."""

    limit: int = Field(20, ge=1, le=100, description="Most objects.")
    after: str | None = Field(None, description="The id behind which the list goes on.")
    order: Literal["asc", "desc"] = Field("asc", description="asc is oldest first.")

    @property
    def page(self) -> Page:
        """The part, as the store takes it."""
        return Page(self.limit, self.after, newest_first=self.order == "desc")


class IncludeQuery(QueryFields):
    """What else is wanted. SDKs write lists as `include[]`."""

    include: list[str] = Field([], description="What comes along; it does wherever it is kept.")
    include_: list[str] = Field([], alias="include[]", description="The same.")

    @property
    def includes(self) -> list[str]:
        """All of it."""
        return [*self.include, *self.include_]


class InputItemsQuery(PageQuery, IncludeQuery):
    """Which items."""

    order: Literal["asc", "desc"] = Field("desc", description="asc is oldest first.")


class RetrieveQuery(IncludeQuery):
    """How a response is wanted."""

    stream: bool = Field(False, description="Its events.")
    starting_after: int | None = Field(None, ge=0, description="The sequence number behind which the events go on.")
    include_obfuscation: Literal["false"] | None = Field(None, description="No padding is ever sent.")


class ChatListQuery(PageQuery):
    """Which chat completions; those with all of the metadata[KEY]=VALUE that are given."""

    model_config = ConfigDict(extra="allow")

    model: str | None = Field(None, description="The model that answered.")

    @property
    def metadata(self) -> dict[str, str]:
        """What the metadata must hold. Raises UnsupportedField for what is no filter at all."""
        found = {}
        for name, value in (self.model_extra or {}).items():
            if not (name.startswith("metadata[") and name.endswith("]") and isinstance(value, str)):
                raise UnsupportedField(f"{name} is not a field of this request; see docs/api.md", param=name)
            found[name[len("metadata[") : -1]] = value
        return found


def listed(data: Sequence[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """OpenAI's object around a part of a list."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
