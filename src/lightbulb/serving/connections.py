"""Connections as uvicorn holds them, with an end to patience: a client that sends no head keeps no place."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from lightbulb.serving.limits import CONNECTIONS_PER_REQUEST, PATIENCE_SECONDS, Limits


class Connection(H11Protocol):
    """One connection.

    Args:
        most: that may be open at once; one more is closed unheard
    """

    def __init__(self, most: int, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._most = most
        self._waiting_for_head: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, limits: Limits) -> Any:
        """What makes connections for a service with these limits."""
        return partial(cls, CONNECTIONS_PER_REQUEST * limits.waiting + 16)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._most:
            transport.abort()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cease()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        """From the first byte of a head, or from the connection's beginning, to its last byte."""
        if self.conn.their_state is not h11.IDLE:
            self._cease()
        elif self._waiting_for_head is None and self.timeout_keep_alive_task is None:
            self._waiting_for_head = self.loop.call_later(PATIENCE_SECONDS, self._give_up)

    def _cease(self) -> None:
        if self._waiting_for_head is not None:
            self._waiting_for_head.cancel()
            self._waiting_for_head = None

    def _give_up(self) -> None:
        self._waiting_for_head = None
        self.transport.abort()
