"""Fixtures of tests/serving: the toy runtime, a file for it, and `serve` in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from serving_toy import CAN, Client, Toy

from lightbulb.runtimes import registry
from lightbulb.serving import serve as serving
from lightbulb.serving.limits import Limits


@pytest.fixture
def toy(monkeypatch, tmp_path) -> Iterator[type[Toy]]:
    """The runtime, known by its name and as it is at first."""
    monkeypatch.setitem(registry.BUILT_IN, "toy", "serving_toy:Toy")
    for name, value in {"capabilities": CAN, "answers": (), "probabilities": False, "seconds_per_word": 0.0}.items():
        monkeypatch.setattr(Toy, name, value)
    monkeypatch.setattr(Toy, "calls", [])
    monkeypatch.setattr(Toy, "gate", threading.Event())
    Toy.gate.set()
    yield Toy
    Toy.gate.set()


@pytest.fixture
def toy_file(tmp_path) -> Path:
    """What it opens: a GGUF file without tensors."""
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "toy.gguf", "toy")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return tmp_path / "toy.gguf"


@pytest.fixture
def serve_it(monkeypatch) -> Iterator[Callable[..., Any]]:
    """`serve` in a thread, with what it is given, until the block ends."""

    @contextmanager
    def begin(file: Path, *, limits: Limits | None = None, **options: Any) -> Iterator[Client]:
        servers: list[Any] = []
        made, listening, failed = serving._server, threading.Event(), []
        told: list[serving.Serving] = []

        def remember(*arguments: Any) -> Any:
            servers.append(made(*arguments))
            return servers[-1]

        def heard(serving: serving.Serving) -> None:
            told.append(serving)
            listening.set()

        def run() -> None:
            try:
                serving.serve(file, port=0, threads=1, limits=limits, on_start=heard, **options)
            except BaseException as e:
                failed.append(e)
            listening.set()

        monkeypatch.setattr(serving, "_server", remember)
        thread = threading.Thread(target=run)
        thread.start()
        assert listening.wait(60)
        try:
            if failed:
                raise failed[0]
            yield Client(told[0])
        finally:
            for server in servers:
                server.should_exit = True
            thread.join(60)
            monkeypatch.setattr(serving, "_server", made)
        assert not thread.is_alive() and not failed, failed

    yield begin
