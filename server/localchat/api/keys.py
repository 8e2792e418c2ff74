"""API keys, and whose requests they let in."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from localchat.lane import Lane
from localchat.settings import Settings


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is, and how urgent it may be. The name tells nothing of the key."""

    name: str = ""
    lane: Lane = Lane.INTERACTIVE
    owner: str = field(default="", compare=False)
    """Whose things are kept under; it depends on the key alone, and not on its place among others."""


NOBODY = Caller()
"""Everybody, where no keys are asked for."""


class Keys:
    """The keys that are let in. False where there are none."""

    def __init__(self, settings: Settings) -> None:
        lanes = {Lane.INTERACTIVE: settings.api_key, Lane.BACKGROUND: settings.background_api_key}
        secrets = [(secret.get_secret_value(), lane) for lane, keys in lanes.items() for secret in keys]
        self._callers = [
            (key.encode(), Caller(str(n), lane, _owner(key))) for n, (key, lane) in enumerate(secrets, start=1)
        ]

    def __bool__(self) -> bool:
        """Whether a key is asked for."""
        return bool(self._callers)

    def caller(self, token: str) -> Caller | None:
        """Whose key a token is; None where it is nobody's. Takes as long either way."""
        found = None
        for key, caller in self._callers:
            if hmac.compare_digest(token.encode(), key):
                found = caller
        return found


def _owner(key: str) -> str:
    return hashlib.blake2b(key.encode(), digest_size=16, person=b"localchat owner").hexdigest()
