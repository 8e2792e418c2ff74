"""A checkpoint on the Hugging Face Hub, as much of it as a conversion needs, in the Hub's own cache."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import errors

from localchat.errors import FetchFailed
from localchat.hub import cache, hub_repo
from localchat.hub.blob import bring
from localchat.hub.form import ANY
from localchat.hub.hub_file import locate, translated
from localchat.hub.hub_repo import HubRepo
from localchat.hub.progress import Progress
from localchat.hub.store import check_room

CONFIG = "config.json"

_SETTINGS = re.compile(
    r"(generation_|tokenizer_)?config\.json|tokenizer\.json|special_tokens_map\.json|added_tokens\.json"
    r"|vocab\.(json|txt)|merges\.txt|[\w.-]+\.model|chat_template\.(jinja|json)|modules\.json|\d+_Pooling/config\.json"
)
# The better first: no more than one of them is taken.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_INDEX = ".index.json"
_ALIKE = re.compile(r".*\.(safetensors|bin|pth?|ckpt|gguf|ggml|h5|msgpack|onnx|ot|npz|nemo)")
_MOST_NAMED = 5

Read = Callable[[str], Path | None]
"""Gives the path of a file of the repository on this machine."""


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint's folder, and the commit that it is of."""

    folder: Path
    commit: str


def checkpoint(repo: str, revision: str, progress: Progress) -> Snapshot:
    """Fetch what is not in the cache yet; without the Hub, a checkpoint that is there whole does. Raises WeightsError.

    No code is fetched, and no weights in a second form.
    """
    found = _look(repo, revision, progress)

    def read(file: str) -> Path | None:
        _bring(found, [file], progress)
        return found.cached(file)

    try:
        _bring(found, _files(found, read), progress)
        cache.remember(repo, revision, found.commit)
    except OSError as error:  # a full disk, a folder without permission
        raise FetchFailed(f"{repo} could not be fetched: {error}") from error
    return Snapshot(cache.snapshot_folder(repo, found.commit), found.commit)


def _look(repo: str, revision: str, progress: Progress) -> HubRepo:
    with translated(repo, revision):
        try:
            return hub_repo.listed(repo, revision, progress)
        except (errors.HfHubHTTPError, errors.HFValidationError):
            raise
        except Exception:  # no network, by wish or by accident
            here = hub_repo.cached(repo, revision)
            if here and _is_whole(here):
                return here
            raise


def _is_whole(found: HubRepo) -> bool:
    try:
        _files(found, found.cached)
    except FetchFailed:
        return False
    return True


def _files(found: HubRepo, read: Read) -> list[str]:
    """What a conversion needs, the weights last: where they are in the cache, the rest is."""
    if CONFIG not in found.files:
        raise FetchFailed(f"{found.name} has no {CONFIG}, so it is no checkpoint to convert; {_contents(found)}")
    return [*sorted(filter(_SETTINGS.fullmatch, found.files)), *_weights(found, read)]


def _weights(found: HubRepo, read: Read) -> list[str]:
    for single in _WEIGHTS:
        if single in found.files:
            return [single]
        if (index := single + _INDEX) in found.files:
            return [index, *_shards(found, index, read(index))]
    forms = " and no ".join(_WEIGHTS)
    raise FetchFailed(f"{found.name} has no weights to convert: no {forms}, nor an index of either; {_contents(found)}")


def _shards(found: HubRepo, index: str, path: Path | None) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8") if path else ""
        shards = sorted({str(shard) for shard in json.loads(text)["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchFailed(f"{path} is no index of shards ({error!r}); remove it and try again") from error
    if missing := [shard for shard in shards if "/" in shard or shard not in found.files]:
        raise FetchFailed(f"{found.name} has no {missing[0]}, which {index} names; its upload may be incomplete")
    return shards


def _contents(found: HubRepo) -> str:
    """What is there instead."""
    weights = sorted(filter(_ALIKE.fullmatch, found.files))
    names = weights or sorted(found.files)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    text = f"it has {', '.join(names[:_MOST_NAMED]) or 'no files'}{more}"
    if any(name.startswith("adapter_model.") for name in weights):
        return f"{text}: an adapter, to be merged into its base first"
    if ggufs := [name for name in weights if name.endswith(".gguf")]:
        return f"{text}: serve `hf:{found.name}/{ggufs[0]}` as it is"
    return text


def _bring(found: HubRepo, files: list[str], progress: Progress) -> None:
    """Fetch those that are not here, once it is known that all of them fit on the disk."""
    missing = [found.source(file) for file in files if found.cached(file) is None]
    ways = []
    for number, source in enumerate(missing, 1):
        label = f"{found.name} {source.file}" + (f" ({number} of {len(missing)})" if len(missing) > 1 else "")
        there = locate(source, label, progress)
        ways.append((source, there, replace(cache.slot_of(label, source, there.etag, there.commit), form=ANY)))
    needed = sum(slot.needed(there.remote.size) for _, there, slot in ways)
    check_room(found.name, cache.repo_folder(found.name), needed)
    for source, there, slot in ways:
        bring(source, there, slot, None, progress)
