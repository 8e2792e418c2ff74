"""Checkpoints on a Hub: which files are taken, how they come, and what is told where they cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download, snapshot_download

from hub_server import COMMIT, GATED, MISSING, TOKEN, UNAUTHORIZED, Fault, HubServer
from localchat.errors import ChecksumMismatch, FetchFailed
from localchat.hub import cache, snapshot
from localchat.hub.progress import Progress, SilentProgress
from localchat.hub.removal import leftovers
from localchat.hub.snapshot import Snapshot, checkpoint

REPO = "owner/raw"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"
SETTINGS = ("config.json", "tokenizer.json", "tokenizer_config.json")
WHOLE = {*SETTINGS, INDEX, *SHARDS}


def index_of(*shards: str) -> bytes:
    return json.dumps({"weight_map": {f"layer.{number}": shard for number, shard in enumerate(shards)}}).encode()


def content_of(file: str) -> bytes:
    """Other bytes for each file, longer than anything here cuts."""
    return file.encode() * 2000


@pytest.fixture
def raw(hub: HubServer) -> HubServer:
    """A Hub with a checkpoint of two shards."""
    for file in SETTINGS:
        hub.add_regular(REPO, file, content_of(file))
    hub.add_regular(REPO, INDEX, index_of(*SHARDS))
    for shard in SHARDS:
        hub.add(REPO, shard, content_of(shard))
    return hub


def get(revision: str = "main", progress: Progress | None = None) -> Snapshot:
    return checkpoint(REPO, revision, progress or SilentProgress())


def names(found: Snapshot) -> set[str]:
    return {path.relative_to(found.folder).as_posix() for path in found.folder.rglob("*") if path.is_file()}


def content_requests(hub: HubServer) -> int:
    return sum(asked.method == "GET" and "/api/" not in asked.path for asked in hub.asked)


def test_checkpoint_is_fetched_into_the_cache_of_the_library(raw: HubServer, tmp_path: Path) -> None:
    found = get()
    assert found == Snapshot(tmp_path / "hf" / "hub" / "models--owner--raw" / "snapshots" / COMMIT, COMMIT)
    assert names(found) == WHOLE
    assert (found.folder / SHARDS[0]).read_bytes() == content_of(SHARDS[0])
    assert snapshot_download(REPO, local_files_only=True) == str(found.folder)
    assert leftovers(tmp_path) == []


def test_second_call_downloads_nothing(raw: HubServer) -> None:
    first = get()
    before = len(raw.asked)
    assert get() == get(COMMIT) == first
    assert {asked.path.partition("?")[0] for asked in raw.asked[before:]} == {
        f"/api/models/{REPO}/revision/{revision}" for revision in ("main", COMMIT)
    }


@pytest.mark.parametrize(
    ("also", "taken"),
    [
        ({"pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "model.gguf"}, set()),
        ({"model.fp16.safetensors", "onnx/model.onnx", "consolidated.00.pth"}, set()),
        ({"modeling_raw.py", "README.md", "training_args.bin"}, set()),
        ({"tokenizer.model", "spiece.model"}, {"tokenizer.model", "spiece.model"}),
        ({"vocab.json", "merges.txt", "vocab.txt"}, {"vocab.json", "merges.txt", "vocab.txt"}),
        ({"added_tokens.json", "special_tokens_map.json"}, {"added_tokens.json", "special_tokens_map.json"}),
        ({"chat_template.jinja", "chat_template.json"}, {"chat_template.jinja", "chat_template.json"}),
        ({"generation_config.json", "trainer_config.json"}, {"generation_config.json"}),
        (
            {"modules.json", "1_Pooling/config.json", "2_Dense/config.json"},
            {"modules.json", "1_Pooling/config.json"},
        ),
    ],
)
@pytest.mark.parametrize("single", ["model.safetensors", "pytorch_model.bin"])
def test_what_a_conversion_needs_is_taken(hub: HubServer, single: str, also: set[str], taken: set[str]) -> None:
    for file in {"config.json", single, *also}:
        hub.add(REPO, file, content_of(file))
    assert names(get()) == {"config.json", single, *taken}


def test_shards_are_those_of_the_index(raw: HubServer) -> None:
    raw.add(REPO, "model-00001-of-00001.safetensors", content_of("old"))
    raw.add(REPO, "pytorch_model-00001-of-00001.bin", content_of("bin"))
    raw.add_regular(REPO, "pytorch_model.bin.index.json", index_of("pytorch_model-00001-of-00001.bin"))
    assert names(get()) == WHOLE


def test_files_are_counted(raw: HubServer, recorder: Progress, labels: list[str]) -> None:
    get(progress=recorder)
    files = [*SETTINGS, *SHARDS]
    counted = [f"{REPO} {file} ({number} of 5): downloading" for number, file in enumerate(files, 1)]
    assert labels == [f"{REPO} {INDEX}: downloading", *counted]


def test_cut_connection_is_taken_up_where_it_broke(hub: HubServer) -> None:
    for file in ("config.json", "model.safetensors"):
        hub.add(REPO, file, content_of(file))
    hub.faults = [Fault(), Fault(cut=1000)]
    assert (get().folder / "model.safetensors").read_bytes() == content_of("model.safetensors")
    assert hub.content_ranges == [None, None, "bytes=1000-"]


def test_next_call_goes_on_from_what_the_last_one_kept(raw: HubServer) -> None:
    raw.faults = [Fault()] * 4 + [Fault(cut=1000), Fault(cut=0)]
    with pytest.raises(FetchFailed, match=rf"{REPO}/{SHARDS[0]} could not .*; what has arrived is kept, so try again"):
        get()
    before = raw.sent
    assert names(get()) == WHOLE
    assert raw.sent - before == sum(len(content_of(shard)) for shard in SHARDS) - 1000


def test_corrupt_shard_is_one_line_and_never_gets_its_name(raw: HubServer) -> None:
    stored = raw.files[REPO, SHARDS[1]]
    stored.body = stored.body[:-1] + b"?"
    for _ in range(2):
        with pytest.raises(ChecksumMismatch, match=f"^{SHARDS[1]} is not the file the Hub names: its") as caught:
            get()
        assert "\n" not in str(caught.value)
        assert not (cache.snapshot_folder(REPO, COMMIT) / SHARDS[1]).exists()
    stored.body = content_of(SHARDS[1])
    assert (get().folder / SHARDS[1]).read_bytes() == stored.body


def test_shard_that_was_cut_on_the_disk_is_fetched_again(raw: HubServer) -> None:
    path = get().folder / SHARDS[0]
    with path.open("r+b") as file:
        file.truncate(10)
    assert (get().folder / SHARDS[0]).read_bytes() == content_of(SHARDS[0])


def test_files_of_another_program_are_not_downloaded(raw: HubServer) -> None:
    theirs = {str(Path(hf_hub_download(REPO, file, endpoint=raw.url)).parent) for file in WHOLE}
    before = content_requests(raw)
    assert {str(get().folder)} == theirs
    assert content_requests(raw) == before


def test_branch_that_has_moved_brings_only_what_is_new(raw: HubServer) -> None:
    get()
    raw.commit = COMMIT[::-1]
    raw.add(REPO, SHARDS[1], b"new" * 1000)
    before = raw.sent
    found = get()
    assert (found.commit, names(found)) == (raw.commit, WHOLE)
    assert raw.sent - before == 3000


@pytest.mark.parametrize("revision", ["main", COMMIT])
def test_cache_does_without_the_hub(raw: HubServer, monkeypatch: pytest.MonkeyPatch, revision: str) -> None:
    first = get(revision)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert get(revision) == first


def test_cache_does_where_the_hub_cannot_be_reached(raw: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = get()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert get() == first


@pytest.mark.parametrize("files", [[], ["config.json"], ["config.json", INDEX, SHARDS[0]]])
def test_checkpoint_that_is_not_whole_needs_the_hub(
    raw: HubServer, monkeypatch: pytest.MonkeyPatch, files: list[str]
) -> None:
    for file in files:
        hf_hub_download(REPO, file, endpoint=raw.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FetchFailed, match=f"^{REPO} is not in the cache, and HF_HUB_OFFLINE forbids to download it$"):
        get()


@pytest.mark.parametrize(
    ("repo", "revision", "expected"),
    [
        ("owner/none", "main", "the Hub has no repository owner/none; if it is private, log in with `hf auth login`"),
        ("owner/gated", "main", "owner/gated is gated: ask for access on its page, then log in"),
        ("owner/private", "main", "owner/private: the Hub does not accept the token; log in"),
        ("owner/broken", "main", "owner/broken: the Hub answered 500; try again later"),
        ("owner/bad--name", "main", "owner/bad--name could not be downloaded: Cannot have -- or .."),
        (REPO, "v9", f"{REPO} has no revision v9"),
        (
            "owner/tiny",
            "main",
            "owner/tiny has no config.json, so it is no checkpoint to convert; it has dir/",
        ),
    ],
)
def test_refusal_is_told_in_one_line_and_leaves_nothing(
    raw: HubServer, tmp_path: Path, repo: str, revision: str, expected: str
) -> None:
    for file in ("config.json", "model.safetensors"):
        raw.add("owner/gated", file, content_of(file))
    raw.refusals = {
        "owner/none": MISSING,
        "owner/gated": GATED,
        "owner/private": UNAUTHORIZED,
        "owner/broken": (500, {}),
    }
    with pytest.raises(FetchFailed) as caught:
        checkpoint(repo, revision, SilentProgress())
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)
    assert not [path for path in (tmp_path / "hf").rglob("*") if path.is_file()]


def test_token_opens_a_gated_repository(raw: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    raw.refusals = {REPO: GATED}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert names(get()) == WHOLE


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([], "it has config.json"),
        (["a.pth", "b.ckpt"], "it has a.pth, b.ckpt"),
        ([f"{letter}.h5" for letter in "abcdefg"], "it has a.h5, b.h5, c.h5, d.h5, e.h5 and 2 more"),
        (
            ["adapter_model.safetensors"],
            "it has adapter_model.safetensors: an adapter, to be merged into its base first",
        ),
        (["a.Q8_0.gguf"], f"it has a.Q8_0.gguf: serve `hf:{REPO}/a.Q8_0.gguf` as it is"),
    ],
)
def test_weights_of_another_kind_are_named(hub: HubServer, there: list[str], expected: str) -> None:
    for file in ["config.json", *there]:
        hub.add(REPO, file, content_of(file))
    with pytest.raises(FetchFailed) as caught:
        get()
    assert str(caught.value) == (
        f"{REPO} has no weights to convert: no model.safetensors and no pytorch_model.bin, nor an index of either; "
        + expected
    )
    assert hub.sent == 0


@pytest.mark.parametrize("text", [b"none", b"[]", b'{"weight_map": []}'])
def test_index_that_is_none_is_told(raw: HubServer, text: bytes) -> None:
    raw.add_regular(REPO, INDEX, text)
    with pytest.raises(FetchFailed, match=rf"{INDEX} is no index of shards .*; remove it and try again"):
        get()


@pytest.mark.parametrize("shard", ["model-00003-of-00003.safetensors", "../../config.json", "dir/tiny.gguf"])
def test_index_that_names_what_is_not_there_is_told(raw: HubServer, shard: str) -> None:
    raw.add(REPO, "dir/tiny.gguf", content_of("tiny"))
    raw.add_regular(REPO, INDEX, index_of(*SHARDS, shard))
    with pytest.raises(FetchFailed, match=f"^{REPO} has no {shard}, which {INDEX} names"):
        get()


def test_room_is_checked_for_all_files_before_any_comes(hub: HubServer) -> None:
    for file in ("config.json", "model.safetensors"):
        hub.add(REPO, file, content_of(file), size=10**17)
    with pytest.raises(FetchFailed, match=rf"^{REPO} needs 204000\.0 TB free in .*, which has "):
        get()
    assert hub.sent == 0


def test_room_is_needed_only_for_what_is_missing(raw: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    needs: list[int] = []
    raw.faults = [Fault()] * 4 + [Fault(cut=1000), Fault(cut=0)]
    with pytest.raises(FetchFailed):
        get()
    monkeypatch.setattr(snapshot, "check_room", lambda label, folder, needed: needs.append(needed))
    get()
    assert needs == [0, sum(int(len(content_of(shard)) * 1.02) for shard in SHARDS) - 1000]


def test_page_in_place_of_the_list_is_told(raw: HubServer) -> None:
    raw.asks_faults = [Fault(page=True)]
    with pytest.raises(FetchFailed, match=f"^{REPO}: what answers is no Hub"):
        get()


def test_page_in_place_of_a_file_is_told_and_not_kept(raw: HubServer) -> None:
    raw.faults = [Fault(page=True)]
    with pytest.raises(FetchFailed, match=rf"^{REPO}/{INDEX} could not be downloaded: what came is a web page"):
        get()
    assert names(get()) == WHOLE


def test_hub_that_asks_to_wait_is_waited_for(raw: HubServer) -> None:
    raw.asks_faults = [Fault(status=429, headers={"Retry-After": "0"})]
    assert names(get()) == WHOLE


def test_disk_that_fails_is_told(raw: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot, "bring", fail)
    with pytest.raises(FetchFailed, match=rf"^{REPO} could not be fetched: \[Errno 28\] No space left on device$"):
        get()


def test_system_without_links_keeps_one_content(raw: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localchat.hub.cache.are_symlinks_supported", lambda folder: False)
    assert names(get()) == WHOLE
    assert not [path for path in get().folder.iterdir() if path.is_symlink()]
