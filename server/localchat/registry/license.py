"""Whether a model's license allows commercial use, as the registry has it."""

from __future__ import annotations

from localchat.errors import LicenseForbids
from localchat.registry.spec import ModelSpec


def check_commercial(spec: ModelSpec) -> None:
    """Raises LicenseForbids, with the words of the license, unless commercial use is known to be allowed."""
    license, why = spec.license or "no license that the registry names", spec.commercial.why
    if spec.commercial.use == "no":
        raise LicenseForbids(f"{spec.id} ({license}) may not be used commercially: {why}", param="model")
    if spec.commercial.use == "unknown":
        # What nobody has read is not taken for a permission.
        raise LicenseForbids(
            f"{spec.id} ({license}) may not be allowed commercial use: {why}. If you know that it is, say so in a"
            ' registry of your own: commercial = { use = "yes", why = "…" }',
            param="model",
        )
