"""Builds the image's file system on top of this machine's, and runs the server in it. Started by check.sh.

Every RUN, COPY, ENV and ARG is the Dockerfile's own, as are the user, the signal and the health check; the host's root,
seen through an overlay, stands in for the base images.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .dockerfile import Instruction, Stage, context_files, ignore_patterns, parse

BASE_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
"""What the base images set, as far as it matters here."""
FROM_HOST = ("PIP_", "SSL_CERT_FILE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""How this machine reaches its package index."""
KEY = "key-of-the-check"
OTHER_USER = "23456:23456"
SYSTEM_LIBRARIES = {f"lib{name}" for name in ("c.so.6", "m.so.6", "stdc++.so.6", "gcc_s.so.1", "gomp.so.1")}
AVX = re.compile(r"\tv[a-z0-9]+ .*%[xyz]mm")
START_SECONDS = 600
STOP_SECONDS = 30


def main(repository: Path, work: Path) -> None:
    """Build, look, run twice; print what that showed."""
    report = Report()
    builder, final = parse((repository / "Dockerfile").read_text(encoding="utf-8"))
    context = copy_context(repository, work / "context")

    built = build_builder(builder, work, context, report)
    image = Root.fresh(work / "image")
    env = run_steps(final, image, {"": context, builder.name: built.path}, report)
    inspect_libraries(image, report)

    image.make_read_only()
    container = Container(image, final, env, free_port())
    refuse_without_key(container, report)
    for user in (final.last("USER").text, OTHER_USER):
        try_container(container, user, work / f"volume-{user.partition(':')[0]}", report)
    report.show()


@dataclass
class Report:
    """What was seen, and what was left out."""

    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(
        default_factory=lambda: [
            "the base images: this machine's system stood in for them, with all that is installed on it",
            "compose.yaml, VOLUME, port publishing and GPU access: they are the engine's work",
        ]
    )

    def saw(self, what: str, is_right: bool = True, details: str = "") -> None:
        """Note a fact; end the check if it is not as it should be."""
        if not is_right:
            sys.exit(f"FAILED: {what}\n{details}")
        print(f"ok: {what}{f' ({details})' if details else ''}", flush=True)
        self.checked.append(what)

    def show(self) -> None:
        """The summary."""
        print(f"\nchecked ({len(self.checked)} facts above):", *self.checked, sep="\n  + ")
        print("not checked:", *dict.fromkeys(self.unchecked), sep="\n  - ")  # a stage may be gone through twice


# Building.


@dataclass
class Root:
    """A root file system of its own: this machine's, and what is written goes to a folder."""

    path: Path

    @classmethod
    def fresh(cls, folder: Path) -> Root:
        """Nothing written yet."""
        shutil.rmtree(folder, ignore_errors=True)
        return cls.kept(folder)

    @classmethod
    def kept(cls, folder: Path) -> Root:
        """What was written the last time is there."""
        upper, scratch, path = (folder / name for name in ("upper", "scratch", "root"))
        for part in (upper, scratch, path):
            part.mkdir(parents=True, exist_ok=True)
        mount("-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={scratch}", str(path))
        for system in ("proc", "sys", "dev"):
            mount("--rbind", f"/{system}", str(path / system))
        mount("--bind", "/etc/resolv.conf", str(path / "etc/resolv.conf"))
        return cls(path)

    def make_read_only(self) -> None:
        """As `--read-only --tmpfs /tmp` does, with Docker's options for a tmpfs."""
        mount("-t", "tmpfs", "-o", "noexec,nosuid,nodev,mode=1777", "tmpfs", str(self.path / "tmp"))
        mount("-o", "remount,ro", str(self.path))

    def run(self, command: Sequence[str], env: dict[str, str], folder: str = "/") -> None:
        """Run as root; exit with the command if it fails."""
        inside = ["chroot", str(self.path), "env", "-i", f"--chdir={folder}", *pairs(env), *command]
        status = subprocess.run(inside, check=False).returncode
        if status:
            sys.exit(f"FAILED: {' '.join(command)} ended with status {status}")


def copy_context(repository: Path, target: Path) -> Path:
    """What the engine would be sent."""
    shutil.rmtree(target, ignore_errors=True)
    patterns = ignore_patterns((repository / ".dockerignore").read_text(encoding="utf-8"))
    for name in context_files(repository, patterns):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(repository / name, target / name)
    return target


def build_builder(stage: Stage, work: Path, context: Path, report: Report) -> Root:
    """The first stage; its steps before the first COPY are kept for the next time, as an engine's layers are."""
    first_copy = next(index for index, step in enumerate(stage.instructions) if step.keyword == "COPY")
    args = [os.environ.get(name, "") for step in stage.all("ARG") for name in step.assignments({})]
    steps = repr(([(step.keyword, step.text) for step in stage.instructions[:first_copy]], args))
    stamp, digest = work / "builder.stamp", hashlib.sha256(steps.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        root = Root.kept(work / "builder")
        run_steps(stage, root, {"": context}, report, skip_runs_before=first_copy)
    else:
        stamp.unlink(missing_ok=True)
        root = Root.fresh(work / "builder")
        run_steps(Stage(stage.name, stage.base, stage.instructions[:first_copy]), root, {"": context}, report)
        stamp.write_text(digest)
        run_steps(stage, root, {"": context}, report, skip_runs_before=first_copy)
    return root


def run_steps(
    stage: Stage, root: Root, sources: dict[str, Path], report: Report, skip_runs_before: int = 0
) -> dict[str, str]:
    """Take the steps of a stage; the environment that they leave behind."""
    env, args, folder = dict(BASE_ENV), host_settings(), "/"
    for index, step in enumerate(stage.instructions):
        match step.keyword:
            case "ARG":
                given = step.assignments(env | args)
                args |= {name: os.environ.get(name, value) for name, value in given.items() if value is not None}
                args |= {name: os.environ[name] for name in given if name in os.environ}
            case "ENV":
                env |= {name: value or "" for name, value in step.assignments(env | args).items()}
            case "WORKDIR":
                folder = step.text
                (root.path / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "COPY":
                copy(step, root, sources[step.flags.get("from", "")], folder)
            case "RUN" if "apt-get install" in step.text:
                report.unchecked.append(f"RUN {step.text.split(' && ')[1].strip()}: what this machine has was used")
            case "RUN" if index >= skip_runs_before:
                print(f"RUN {' '.join(step.text.split())}", flush=True)
                root.run(["/bin/sh", "-c", step.text], {"HOME": "/root"} | args | env, folder)
    return env


def copy(step: Instruction, root: Root, source: Path, folder: str) -> None:
    """COPY: folders are copied by what is in them."""
    *names, target = step.text.split()
    to = root.path / os.path.join(folder, target).lstrip("/")
    for name in names:
        origin = source / name.lstrip("/")
        if origin.is_dir():
            shutil.copytree(origin, to, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy2(origin, to)


def host_settings() -> dict[str, str]:
    """What of this machine's environment a step needs to reach a package index."""
    return {name: value for name, value in os.environ.items() if name.startswith(FROM_HOST)}


def inspect_libraries(root: Root, report: Report) -> None:
    """Which CPUs are there libraries for, what do they need, and what in them would not run on an old one."""
    (folder,) = root.path.glob("opt/localchat/lib/python3*/site-packages/llama_cpp/lib")
    files = sorted(path for path in folder.iterdir() if ".so" in path.name and not path.is_symlink())
    variants = [path.name for path in files if path.name.startswith("libggml-cpu-")]
    report.saw(f"{len(variants)} CPU variants lie beside libllama", len(variants) > 1, " ".join(variants))
    stray = [path.name for path in folder.parent.parent.iterdir() if path.name in ("bin", "lib")]
    report.saw("no library lies outside the package", not stray, " ".join(stray))

    needed: set[str] = set()
    for path in files:
        needed |= system_libraries(root, path)
    report.saw("they need what a slim image and libgomp1 have", needed <= SYSTEM_LIBRARIES, " ".join(sorted(needed)))

    if shutil.which("objdump") and os.uname().machine == "x86_64":
        common = [path for path in files if path.name not in variants] + [folder / "libggml-cpu-x64.so"]
        code = {path.name: output("objdump", "-d", "--no-show-raw-insn", str(path)) for path in common}
        newer = [name for name, text in code.items() if AVX.search(text)]
        report.saw("what every CPU loads has no AVX instruction in it", not newer, " ".join(newer))
    else:
        report.unchecked.append("AVX instructions in what every CPU loads: this needs x86-64 and objdump")
    kilobytes = output("du", "-sk", str(root.path / "opt/localchat")).split()[0]
    report.saw(
        "the image's own layer is of a reasonable size", int(kilobytes) < 500_000, f"{int(kilobytes) // 1000} MB"
    )


def system_libraries(root: Root, library: Path) -> set[str]:
    """The names of what a library needs from outside its folder."""
    inside = f"/{library.relative_to(root.path)}"
    # The variants have no search path of their own: libllama has loaded what they need by then.
    search = f"LD_LIBRARY_PATH={Path(inside).parent}"
    found = [line.split() for line in output("chroot", str(root.path), "env", search, "ldd", inside).splitlines()]
    return {name for name, *where in found if where[0] == "=>" and not (library.parent / name).exists()}


# Running.


@dataclass
class Container:
    """How to run a command as an engine would: the image's environment, another user, no capability, a process 1."""

    root: Root
    stage: Stage
    env: dict[str, str]
    port: int

    def command(self, user: str, words: Sequence[str], env: dict[str, str]) -> list[str]:
        """The command line that runs `words` inside."""
        uid, _, gid = user.partition(":")
        drop = ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        set_user = ["setpriv", f"--reuid={uid}", f"--regid={gid}", *drop]
        port = {"LOCALCHAT_PORT": str(self.port)}
        variables = pairs(host_settings() | self.env | port | env)
        return ["chroot", str(self.root.path), *set_user, "env", "-i", *variables, *words]

    @contextmanager
    def started(self, user: str, log: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """ENTRYPOINT with CMD, as process 1."""
        words = self.stage.last("ENTRYPOINT").exec_form + self.stage.last("CMD").exec_form
        isolate = ["unshare", "--pid", "--fork", "--kill-child", f"--mount-proc={self.root.path}/proc"]
        with log.open("wb") as file:
            process = subprocess.Popen([*isolate, *self.command(user, words, env)], stdout=file, stderr=file)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def is_healthy(self, user: str) -> bool:
        """HEALTHCHECK, once."""
        words = json.loads(self.stage.last("HEALTHCHECK").text.removeprefix("CMD "))
        return subprocess.run(self.command(user, words, {}), capture_output=True, check=False).returncode == 0

    def can_write(self, user: str, folder: str) -> bool:
        """Whether a file can be made there."""
        file = f"{folder}/written"
        script = ["sh", "-c", f"touch {file} && rm {file}"]
        return subprocess.run(self.command(user, script, {}), capture_output=True, check=False).returncode == 0


def refuse_without_key(container: Container, report: Report) -> None:
    """The image must not serve strangers by mistake."""
    command = container.command(container.stage.last("USER").text, ["localchat", "serve"], {})
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    is_right = done.returncode == 1 and "LOCALCHAT_API_KEY" in done.stderr
    report.saw("without a key it does not start", is_right, done.stderr.strip())


def try_container(container: Container, user: str, volume: Path, report: Report) -> None:
    """Start with an empty volume, ask, stop."""
    inside = container.root.path / "models"
    shutil.rmtree(volume, ignore_errors=True)
    volume.mkdir(parents=True)
    volume.chmod(inside.stat().st_mode & 0o7777)  # an engine gives a fresh volume the mode of the folder under it
    mount("--bind", str(volume), str(inside))

    writable = [folder for folder in ("/", "/opt/localchat", "/var/tmp", "/etc") if container.can_write(user, folder)]
    report.saw(f"user {user}: the root file system cannot be written to", not writable, " ".join(writable))
    places = all(container.can_write(user, folder) for folder in ("/tmp", "/models", container.env["HOME"]))
    report.saw(f"user {user}: /tmp, /models and HOME can be", places)

    log = volume.with_suffix(".log")
    begun = time.monotonic()
    with container.started(user, log, {"LOCALCHAT_API_KEY": KEY}) as process:
        while not container.is_healthy(user):
            is_late = time.monotonic() - begun > START_SECONDS
            if is_late or process.poll() is not None:
                report.saw(f"user {user}: healthy", False, log.read_text(errors="replace"))
            time.sleep(1)
        report.saw(f"user {user}: healthy, with a model it fetched itself", details=f"{time.monotonic() - begun:.0f} s")
        ask(container.port, user, report)
        server = only_child(process.pid)
        look_at_maps(server, user, report)
        check_identity(server, user, report)
        stop(container, process, server, user, report)
    mount("--make-private", str(inside))
    subprocess.run(["umount", str(inside)], check=True)


def ask(port: int, user: str, report: Report) -> None:
    """A question with the key, and one without."""
    body = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 24}
    status, _ = post(port, body, None)
    report.saw(f"user {user}: 401 without the key", status == 401, str(status) if status != 401 else "")
    status, answer = post(port, body, KEY)
    is_right = status == 200 and bool(json.loads(answer)["choices"][0]["message"]["content"])
    said = json.loads(answer)["choices"][0]["message"]["content"] if is_right else answer
    report.saw(f"user {user}: a chat completion with it", is_right, repr(said))


def post(port: int, body: dict[str, object], key: str | None) -> tuple[int, str]:
    """A chat completion: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection.request("POST", "/v1/chat/completions", json.dumps({"model": "smollm2-135m-instruct"} | body), headers)
    response = connection.getresponse()
    return response.status, response.read().decode()


def look_at_maps(server: int, user: str, report: Report) -> None:
    """Which of the variants the worker runs."""
    lines = Path(f"/proc/{only_child(server)}/maps").read_text().splitlines()
    files = {Path(line.split()[-1]).name for line in lines if "/llama_cpp/lib/" in line}
    variants = {name for name in files if name.startswith("libggml-cpu-")}
    report.saw(f"user {user}: the worker runs one CPU variant", len(variants) == 1, " ".join(sorted(variants)))
    copies = {name for name in files if name.startswith("libggml.so")}
    report.saw(f"user {user}: there is one libggml in it", len(copies) == 1, " ".join(sorted(copies)))


def check_identity(server: int, user: str, report: Report) -> None:
    """User, capabilities and process number, as the kernel sees them."""
    lines = Path(f"/proc/{server}/status").read_text().splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    uid, _, gid = user.partition(":")
    is_right = set(status["Uid"]) == {uid} and set(status["Gid"]) == {gid}
    is_right &= int(status["CapEff"][0], 16) == int(status["CapBnd"][0], 16) == 0 and status["NoNewPrivs"] == ["1"]
    report.saw(f"user {user}: no capability, no way to more, process {status['NSpid'][-1]}", is_right)


def stop(container: Container, process: subprocess.Popen[bytes], server: int, user: str, report: Report) -> None:
    """STOPSIGNAL, while it is process 1."""
    name = container.stage.last("STOPSIGNAL").text
    begun = time.monotonic()
    os.kill(server, signal.Signals[name])
    try:
        status = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        report.saw(f"user {user}: stops on {name}", False, f"still there after {STOP_SECONDS} s")
    else:
        seconds = f"{time.monotonic() - begun:.1f} s"
        report.saw(f"user {user}: stops on {name} with status {status}", status == 0, seconds)


def only_child(pid: int) -> int:
    """The process that this one started."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def free_port() -> int:
    """One that nothing listens on now; 8000 may well be taken on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pairs(env: dict[str, str]) -> list[str]:
    """For `env`."""
    return [f"{name}={value}" for name, value in env.items()]


def mount(*arguments: str) -> None:
    """Run `mount`."""
    subprocess.run(["mount", *arguments], check=True)


def output(*command: str) -> str:
    """What a command writes."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
