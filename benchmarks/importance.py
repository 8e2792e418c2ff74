"""Q4_K_M by our importance matrix against llama-imatrix's and llama-quantize's, on the same calibration text.

    python benchmarks/importance.py F16.gguf --tools DIR [--format Q4_K_M]

DIR holds llama-imatrix, llama-quantize and llama-perplexity. Both files are measured by both programs.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from localchat.hub.progress import SilentProgress, TerminalProgress
from localchat_quantize import texts
from localchat_quantize.measuring import Text, yardstick
from localchat_quantize.pipeline import Job, run

_KL = re.compile(r"Mean\s+KLD:\s+([\d.]+)")
_PERPLEXITY = re.compile(r"Mean PPL\(Q\)\s+:\s+([\d.]+)")


@dataclass(frozen=True)
class Tools:
    """llama.cpp's own programs."""

    folder: Path
    threads: int

    def run(self, name: str, *arguments: str | Path) -> str:
        """What a program said."""
        command = [str(self.folder / name), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def quantize(self, source: Path, text: Path, target: Path, format: str) -> None:
        """As their users do it."""
        matrix = target.with_suffix(".imatrix.gguf")
        self.run("llama-imatrix", "-m", source, "-f", text, "-o", matrix, "-t", str(self.threads), "-c", "512")
        self.run("llama-quantize", "--imatrix", matrix, source, target, format, str(self.threads))

    def measure(self, source: Path, text: Path, files: list[Path], folder: Path) -> list[str]:
        """Perplexity and mean KL divergence of each file."""
        common: list[str | Path] = [
            "-f",
            text,
            "-t",
            str(self.threads),
            "-c",
            "512",
            "--kl-divergence-base",
            folder / "base.kld",
        ]
        self.run("llama-perplexity", "-m", source, *common)
        found = []
        for file in files:
            said = self.run("llama-perplexity", "-m", file, "--kl-divergence", *common)
            perplexity, kl = _PERPLEXITY.search(said), _KL.search(said)
            assert perplexity is not None, said
            assert kl is not None, said
            found.append(f"{float(perplexity[1]):.4f} | {float(kl[1]):.5f}")
        return found


def main() -> None:
    """Make both files, measure both twice, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--format", default="Q4_K_M")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    tools = Tools(given.tools, given.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        calibration, measuring = folder / "calibration.txt", folder / "measuring.txt"
        calibration.write_text(texts.calibration(), encoding="utf-8")
        measuring.write_text(texts.measuring(), encoding="utf-8")
        job = Job(
            source=given.source,
            name="ours",
            targets=[given.format],
            output=folder,
            threads=given.threads,
            gather=True,
            measure=False,
        )
        [ours] = run(job, TerminalProgress())
        theirs = folder / f"theirs.{given.format}.gguf"
        tools.quantize(given.source, calibration, theirs, given.format)
        text = Text(measuring, measuring.name)
        with yardstick(given.source, text, folder, given.threads, "", SilentProgress()) as ruler:
            own = [ruler.measure(path, SilentProgress()) for path in (ours.path, theirs)]
        other = tools.measure(given.source, measuring, [ours.path, theirs], folder)
    print("| made by | perplexity | mean KL | perplexity by llama-perplexity | mean KL by llama-perplexity |")
    print("|---|---|---|---|---|")
    for maker, one, its in zip(("localchat", "llama-imatrix, llama-quantize"), own, other, strict=True):
        print(f"| {maker} | {one.perplexity:.4f} | {one.kl_mean:.5f} | {its} |")


if __name__ == "__main__":
    main()
