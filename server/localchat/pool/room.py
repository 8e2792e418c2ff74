"""Memory for all models together. Newcomers get it in turn; models that nobody uses make room for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from localchat.errors import DoesNotFit
from localchat.hardware import MemoryNeed
from localchat.hardware.need import readable


class Tenant(Protocol):
    """A model that takes room, or wants to."""

    id: str
    held: int
    """Bytes that count as taken."""
    last_used: int
    """Grows with every use of any tenant."""

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for it."""

    @property
    def is_settled(self) -> bool:
        """Whether it is loaded."""

    @property
    def is_ending(self) -> bool:
        """Whether its process has been told to end, and has not yet."""

    @property
    def is_in_use(self) -> bool:
        """Whether it is answering, or somebody is about to ask it."""

    def measure(self) -> None:
        """Correct `held` by what its process takes by now."""

    def ask_to_leave(self) -> None:
        """End as soon as it is not in use; until then whoever asks for it has to wait."""

    def let_stay(self) -> None:
        """Take that back."""


class Room:
    """A budget and those who share it."""

    def __init__(self, budget: Callable[[], int], *, force: bool = False) -> None:
        self.tenants: list[Tenant] = []
        self._budget = budget
        self._force = force
        self._turn = asyncio.Lock()
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """Something may have changed: a tenant has come, gone, or is no longer used."""
        self._bell.set()

    async def reserve(self, newcomer: Tenant, need: MemoryNeed) -> bool:
        """Wait until the newcomer fits, and note what it takes. False if nobody wants it any more and it does not fit.

        The least recently used models end first, and none while it is used; those who ask for one that is to end queue
        up behind the newcomer, or else it might wait for ever. Raises DoesNotFit if it could not fit even alone.
        """
        async with self._turn:
            asked: list[Tenant] = []
            try:
                while (missing := self._missing(newcomer, need)) > 0:
                    if not newcomer.is_wanted:
                        return False
                    leaving = self._leaving(missing)
                    for tenant in asked:
                        if tenant not in leaving:
                            tenant.let_stay()
                    self._bell.clear()
                    for tenant in leaving:
                        if tenant not in asked:  # asking rings the bell: asking again would never get to wait
                            tenant.ask_to_leave()
                    asked = leaving
                    await self._bell.wait()
                return True
            finally:
                for tenant in asked:
                    tenant.let_stay()

    def _missing(self, newcomer: Tenant, need: MemoryNeed) -> int:
        """Bytes that are still to be freed; the newcomer holds its need when there are none."""
        for tenant in self.tenants:
            tenant.measure()
        budget = self._budget()
        wanted = min(need.total, budget) if self._force else need.total
        if wanted > budget:
            raise DoesNotFit(
                f"{newcomer.id} does not fit: {need} of RAM, and {readable(budget)} can be had for all models together"
                " (--memory). Use a smaller --ctx-size, --parallel, or quantization, or --force."
            )
        missing = wanted + sum(tenant.held for tenant in self.tenants) - budget
        if missing <= 0:
            newcomer.held = wanted
        return missing

    def _leaving(self, missing: int) -> list[Tenant]:
        """Who is to end besides those that are about to: idle ones before busy ones, the least recently used first."""
        missing -= sum(tenant.held for tenant in self.tenants if tenant.is_ending)
        settled = [tenant for tenant in self.tenants if tenant.is_settled]
        leaving = []
        for tenant in sorted(settled, key=lambda tenant: (tenant.is_in_use, tenant.last_used)):
            if missing <= 0:
                break
            leaving.append(tenant)
            missing -= tenant.held
        return leaving
