"""The fields that decide how tokens are chosen, shared by chat and completions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from localchat.api.schemas.policy import Body, Ours, Refused
from localchat.api.schemas.types import MAX_INT, Text
from localchat.errors import InvalidRequest
from localchat.sampling_params import MAX_SEED, MAX_STOPS, RANGES


class StreamOptions(Body):
    """What a stream tells besides text."""

    include_usage: bool | None = Field(None, description="A last chunk with the usage and no choices.")
    include_obfuscation: Annotated[bool | None, Refused("no padding is ever sent", harmless=(False,))] = None


class SamplingFields(Body):
    """OpenAI's sampling fields, and next to them llama.cpp's."""

    temperature: float | None = Field(None, description="0 to 2; 0 is greedy and exact.")
    top_p: float | None = Field(None, description="0 to 1.")
    presence_penalty: float | None = Field(None, description="-2 to 2.")
    frequency_penalty: float | None = Field(None, description="-2 to 2.")
    logit_bias: dict[str, float] | None = Field(None, description="Token id to -100…100; -100 bans the token.")
    seed: int | None = Field(None, description="Same seed, same request, alone on the machine: same text.")
    stop: Text | list[Text] | None = Field(None, description=f"Up to {MAX_STOPS} strings; none is part of the text.")

    top_k: Annotated[int | None, Ours()] = Field(None, description="0 is off.")
    min_p: Annotated[float | None, Ours()] = Field(None, description="0 is off.")
    typical_p: Annotated[float | None, Ours()] = Field(None, description="1 is off.")
    top_n_sigma: Annotated[float | None, Ours()] = Field(None, description="-1 is off.")
    repeat_penalty: Annotated[float | None, Ours()] = Field(None, description="1 is off.")
    repeat_last_n: Annotated[int | None, Ours()] = Field(None, description="Tokens looked back on; -1 is all.")
    dynatemp_range: Annotated[float | None, Ours()] = Field(None, description="0 is off.")
    dynatemp_exponent: Annotated[float | None, Ours()] = Field(None, description="Of dynamic temperature.")
    mirostat: Annotated[int | None, Ours()] = Field(None, description="0 is off; 1 or 2.")
    mirostat_tau: Annotated[float | None, Ours()] = Field(None, description="Target surprise.")
    mirostat_eta: Annotated[float | None, Ours()] = Field(None, description="Learning rate.")
    dry_multiplier: Annotated[float | None, Ours()] = Field(None, description="0 is off.")
    dry_base: Annotated[float | None, Ours()] = Field(None, description="Growth of DRY's penalty.")
    dry_allowed_length: Annotated[int | None, Ours()] = Field(None, description="Repeats that DRY lets pass.")
    dry_penalty_last_n: Annotated[int | None, Ours()] = Field(None, description="Tokens looked back on; -1 is all.")
    dry_sequence_breakers: Annotated[list[Text] | None, Ours()] = Field(None, description="What ends a repeat.")
    xtc_probability: Annotated[float | None, Ours()] = Field(None, description="0 is off.")
    xtc_threshold: Annotated[float | None, Ours()] = Field(None, description="Least probability XTC removes.")
    deterministic: Annotated[bool | None, Ours()] = Field(
        None, description="The same text at any load: computed by itself and anew, so slower; the seed is 0 if absent."
    )
    ignore_eos: Annotated[bool | None, Ours()] = Field(None, description="Never choose a token that ends the reply.")

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The ranges are told in the document; they are checked further in, where every way to a sample ends."""
        schema = handler(core)
        fields = handler.resolve_ref_schema(schema)["properties"]
        for name, (least, most) in RANGES.items():
            if name in fields and name != "seed":  # seeds wrap around
                fields[name]["anyOf"][0].update(minimum=least, maximum=most)
        return schema

    @property
    def sampling(self) -> dict[str, Any]:
        """The SamplingParams fields that were given. Raises InvalidRequest."""
        given = {
            name: value
            for name in SamplingFields.model_fields
            if name not in ("stop", "deterministic") and (value := getattr(self, name)) is not None
        }
        if self.seed is not None:
            given["seed"] = self.seed % (MAX_SEED + 1)
        if self.logit_bias is not None:
            given["logit_bias"] = _biases(self.logit_bias)
        if self.dry_sequence_breakers is not None:
            given["dry_sequence_breakers"] = tuple(self.dry_sequence_breakers)
        return given

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings. Raises InvalidRequest for too many, or an empty one."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stops) > MAX_STOPS:
            raise InvalidRequest(f"stop has {len(stops)} strings; {MAX_STOPS} are allowed", param="stop")
        if "" in stops:
            raise InvalidRequest("stop has an empty string, which would stop everything", param="stop")
        return tuple(stops)


def _biases(given: dict[str, float]) -> dict[int, float]:
    try:
        biases = {int(token): bias for token, bias in given.items()}
    except ValueError:
        raise InvalidRequest("logit_bias must have token ids as keys", param="logit_bias") from None
    for token in biases:
        check_token_id(token, "logit_bias")
    return biases


def check_token_id(token: int, param: str) -> None:
    """Refuse what is no token in any vocabulary; the worker knows its own. Raises InvalidRequest."""
    if not 0 <= token <= MAX_INT:
        raise InvalidRequest(f"token id {token} is not in any vocabulary", param=param)
