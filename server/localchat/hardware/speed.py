"""How fast one sequence decodes, told from the bytes that each token makes the machine read."""

from __future__ import annotations

from localchat.hardware.header import GgufHeader

# Between two matrices all threads wait for each other: a small model spends half its time on it.
SECONDS_PER_LAYER = 65e-6


def bytes_per_token(header: GgufHeader) -> int:
    """Bytes of the weights that one token is multiplied by; of a mixture of experts, those of the chosen ones."""
    used, experts = header.hparam("expert_used_count"), header.hparam("expert_count")
    total = 0
    tied = not any(tensor.name == "output.weight" for tensor in header.tensors)
    for tensor in header.tensors:
        if tensor.name == "token_embd.weight" and not tied:
            continue
        is_chosen = "_exps." in tensor.name and 0 < used < experts
        total += tensor.nbytes * used // experts if is_chosen else tensor.nbytes
    return total


def tokens_per_second(header: GgufHeader, bandwidth: float) -> float:
    """What one sequence reaches at `bandwidth` bytes/s, with little in its context; more sequences share each read."""
    seconds = bytes_per_token(header) / bandwidth + SECONDS_PER_LAYER * header.block_count
    return 1 / seconds if seconds else 0.0
