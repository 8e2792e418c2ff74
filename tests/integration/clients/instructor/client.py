"""What `instructor` makes of a server, as one JSON object on standard output. Usage: client.py BASE_URL MODEL"""

from __future__ import annotations

import json
import sys
from typing import Any

import instructor
from openai import OpenAI
from pydantic import BaseModel, ConfigDict, Field

QUESTION = [{"role": "user", "content": "Tell me of a person."}]


class Person(BaseModel):
    """A person."""

    model_config = ConfigDict(extra="forbid")  # the small model would go on and on with properties of its own

    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=120)


def main(base_url: str, model: str) -> dict[str, Any]:
    """A person, by every mode that the server enforces; and one in pieces."""
    modes = {mode.value: mode for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA)}
    asked: dict[str, Any] = {"model": model, "messages": QUESTION, "max_tokens": 80, "temperature": 0, "max_retries": 0}
    asked["extra_body"] = {"deterministic": True}  # in pieces or not, the person is the same
    found: dict[str, Any] = {}
    with OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=60) as sdk:
        for name, mode in modes.items():
            client = instructor.from_openai(sdk, mode=mode)
            person = client.chat.completions.create(response_model=Person, **asked)
            *_, last = client.chat.completions.create_partial(response_model=Person, **asked)
            found[name] = {"whole": person.model_dump(), "pieces": last.model_dump()}
    return found


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout)
