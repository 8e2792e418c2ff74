"""Dockerfile, .dockerignore and compose.yaml agree with each other, with the settings and with the package."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement

from localchat.cli.app import COMMANDS
from localchat.settings import Settings

from .dockerfile import Stage, context_files, ignore_patterns, is_ignored, parse

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
DOCKERFILE, COMPOSE = ((ROOT / name).read_text(encoding="utf-8") for name in ("Dockerfile", "compose.yaml"))
IGNORED = ignore_patterns((ROOT / ".dockerignore").read_text(encoding="utf-8"))
GPU_FIRST_LINE = "    # For NVIDIA GPUs"


@pytest.fixture
def builder() -> Stage:
    return parse(DOCKERFILE)[0]


@pytest.fixture
def final() -> Stage:
    return parse(DOCKERFILE)[-1]


@pytest.fixture
def env(final: Stage) -> dict[str, str]:
    found: dict[str, str] = {}
    for step in final.all("ENV"):
        found |= {name: value or "" for name, value in step.assignments(found).items()}
    return found


@pytest.fixture
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture
def service() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]["localchat"]
    return found


def arguments(stage: Stage) -> dict[str, str | None]:
    return {name: value for step in stage.all("ARG") for name, value in step.assignments({}).items()}


# The Dockerfile.


def test_the_compiler_stays_in_the_first_stage(builder: Stage, final: Stage) -> None:
    assert builder.name == "builder"
    assert any("g++" in step.text for step in builder.all("RUN"))
    assert not any("g++" in step.text for step in final.all("RUN"))
    assert any("libgomp1" in step.text for step in final.all("RUN"))


def test_llama_cpp_is_compiled_for_every_cpu(builder: Stage) -> None:
    flags = (arguments(builder)["CMAKE_ARGS"] or "").split()
    assert set(flags) >= {"-DGGML_NATIVE=OFF", "-DGGML_BACKEND_DL=ON", "-DGGML_CPU_ALL_VARIANTS=ON"}
    assert "-DCMAKE_INSTALL_BINDIR=llama_cpp/lib" in flags, "the variants would be installed where nobody looks"
    compiles = [step.text for step in builder.all("RUN") if "$CMAKE_ARGS" in step.text]
    assert len(compiles) == 1
    assert "--no-binary llama-cpp-python" in compiles[0]


def test_the_llama_cpp_that_is_compiled_is_one_the_package_accepts(builder: Stage, project: dict[str, Any]) -> None:
    requirements = {item.name: item for item in map(Requirement, project["project"]["dependencies"])}
    assert requirements["llama-cpp-python"].specifier.contains(arguments(builder)["LLAMA_CPP_PYTHON"] or "")


def test_an_index_is_used_only_if_given(builder: Stage) -> None:
    assert arguments(builder)["PIP_INDEX_URL"] is None
    assert "://" not in DOCKERFILE + COMPOSE


def test_it_runs_as_a_fixed_user_that_is_not_root(final: Stage) -> None:
    user, _, group = final.last("USER").text.partition(":")
    assert int(user) >= 10000
    assert int(group) >= 10000
    assert any(f"useradd --uid {user} " in step.text for step in final.all("RUN"))


def test_all_that_is_written_goes_to_the_volume_or_tmp(
    final: Stage, env: dict[str, str], service: dict[str, Any]
) -> None:
    assert final.last("VOLUME").exec_form == [env["LOCALCHAT_MODELS_DIR"]]
    assert env["HF_HOME"].startswith(env["LOCALCHAT_MODELS_DIR"] + "/")
    assert env["HOME"] in service["tmpfs"]
    assert service["volumes"] == [f"models:{env['LOCALCHAT_MODELS_DIR']}"]


def test_a_fresh_volume_can_be_written_to_by_any_user(final: Stage, env: dict[str, str]) -> None:
    assert any(f"install -d -m 1777 {env['LOCALCHAT_MODELS_DIR']}" in step.text for step in final.all("RUN"))


def test_it_listens_where_a_key_is_demanded(env: dict[str, str]) -> None:
    assert env["LOCALCHAT_HOST"] == "0.0.0.0"
    assert "LOCALCHAT_API_KEY" not in env
    assert "LOCALCHAT_INSECURE" not in env


def test_commands_are_in_exec_form_and_exist(final: Stage, project: dict[str, Any]) -> None:
    (program,) = final.last("ENTRYPOINT").exec_form
    (command,) = final.last("CMD").exec_form
    assert program in project["project"]["scripts"]
    assert command in COMMANDS
    check = final.last("HEALTHCHECK")
    assert check.text == f'CMD ["{program}", "health"]'
    assert check.flags.keys() == {"interval", "timeout", "start-period", "retries"}


def test_it_stops_on_a_signal_that_process_1_does_not_ignore(final: Stage) -> None:
    assert final.last("STOPSIGNAL").text == "SIGINT"


def test_the_port_is_the_one_that_is_listened_on(final: Stage, service: dict[str, Any]) -> None:
    port = Settings.model_fields["port"].default
    assert final.last("EXPOSE").text == str(port)
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_labels_say_what_the_package_says(final: Stage, project: dict[str, Any]) -> None:
    labels = final.last("LABEL").assignments({})
    assert labels == {
        "org.opencontainers.image.title": project["project"]["name"],
        "org.opencontainers.image.description": project["project"]["description"],
        "org.opencontainers.image.licenses": project["project"]["license"],
    }


def test_every_setting_that_is_named_exists() -> None:
    named = {name.lower() for name in re.findall(r"\bLOCALCHAT_([A-Z_]+)", DOCKERFILE + COMPOSE)}
    assert named <= Settings.model_fields.keys()


# What is sent to the build.


def test_what_is_copied_is_there_and_sent(builder: Stage) -> None:
    sent = set(context_files(ROOT, IGNORED))
    for step in builder.all("COPY"):
        for source in step.text.split()[:-1]:
            assert source in sent or any(name.startswith(f"{source}/") for name in sent), source


def test_what_the_wheel_is_made_of_is_copied(builder: Stage, project: dict[str, Any]) -> None:
    copied = [source for step in builder.all("COPY") for source in step.text.split()[:-1]]
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    metadata = [project["project"]["readme"], *project["project"]["license-files"]]
    for needed in ["pyproject.toml", *metadata, *wheel["packages"], *wheel["force-include"]]:
        assert any(needed == source or needed.startswith(f"{source}/") for source in copied), needed


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        ".env",
        "compose.yaml",
        "build/lib/a.py",
        "tests/conftest.py",
        "model.gguf",
        "server/model.gguf",
        "server/localchat/__pycache__/settings.cpython-312.pyc",
    ],
)
def test_what_the_image_does_not_need_is_not_sent(path: str) -> None:
    assert is_ignored(path, IGNORED)


# compose.yaml.


def test_the_key_must_be_given(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"\$\{LOCALCHAT_API_KEY:\?[^}]+\}", service["environment"]["LOCALCHAT_API_KEY"])


def test_the_service_is_hardened(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert "privileged" not in service
    assert "user" not in service, "the image's own user is the one to run as"
    assert "healthcheck" not in service, "the image has one"


def test_there_is_time_for_running_answers(service: dict[str, Any]) -> None:
    grace = float(service["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["drain_seconds"].default + 5


def test_the_gpu_variant_is_valid_and_its_build_args_exist(builder: Stage) -> None:
    before, _, block = COMPOSE.partition(GPU_FIRST_LINE)
    lines = [line.replace("    # ", "    ", 1) for line in block.splitlines()[1:]]
    variant = yaml.safe_load(before.replace("    build: .\n", "") + "\n".join(lines))["services"]["localchat"]
    base_images = set(re.findall(r"^ARG (\w+_IMAGE)=", DOCKERFILE, re.MULTILINE))
    assert variant["build"]["args"].keys() <= base_images | arguments(builder).keys()
    (device,) = variant["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert all(f"{name}=" in DOCKERFILE and value in DOCKERFILE for name, value in variant["build"]["args"].items())


# The parser.


def test_a_comment_does_not_end_a_continued_instruction() -> None:
    (stage,) = parse("FROM a AS b\nRUN one \\\n# why\n  && two\n")
    assert stage.name == "b"
    assert stage.all("RUN")[0].text == "one   && two"


def test_arguments_before_the_first_stage_name_its_base() -> None:
    assert parse("ARG IMAGE=python:3\nFROM ${IMAGE}\n")[0].base == "python:3"


@pytest.mark.parametrize("text", ["RUN one\n", "FROM a\nrun one\n", "FROM a\nRUN\n", "FROM a\nRUN one \\\n"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"before|instruction|follows|continues"):
        parse(text)


@pytest.mark.parametrize(
    ("path", "patterns", "ignored"),
    [
        ("a/b.py", ["*"], True),
        ("a/b.py", ["*", "!a"], False),
        ("ab/c.py", ["*", "!a"], True),
        ("a/x/__pycache__/c", ["**/__pycache__"], True),
        ("a/b.gguf", ["**/*.gguf"], True),
        ("b.gguf", ["**/*.gguf"], True),
        ("a/b.gguf", ["*.gguf"], False),
    ],
)
def test_the_last_pattern_that_matches_decides(path: str, patterns: list[str], ignored: bool) -> None:
    assert is_ignored(path, patterns) is ignored
