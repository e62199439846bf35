"""`lightbulb serve`: a service around what a run hands out, until it is told to stop."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from lightbulb.core.errors import UserError
from lightbulb.runtimes import check_opens, check_threads, title_of
from lightbulb.serving.batching import Batcher
from lightbulb.serving.finding import model_file
from lightbulb.serving.guard import Guard, names_of
from lightbulb.serving.limits import GRACE_SECONDS, Limits
from lightbulb.serving.service import Service

if TYPE_CHECKING:
    import uvicorn

KEY = "LIGHTBULB_KEY"  # environment variable


@dataclass(frozen=True)
class Serving:
    """A service that listens.

    Attributes:
        address: such as http://127.0.0.1:8080
        model: its name, as clients call it
        file: which one answers
        runtime: what it runs in
        answers: that it chooses from; none where it writes
        open_to_others: whether other machines may reach it without a key
    """

    address: str
    model: str
    file: Path
    runtime: str
    answers: int
    open_to_others: bool


def serve(
    model: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    runtime: str = "llamacpp",
    threads: int | None = None,
    slots: int = 4,
    context: int = 2048,
    limits: Limits | None = None,
    key: str | None = None,
    on_start: Callable[[Serving], None] = lambda serving: None,
) -> None:
    """Answers over HTTP, in OpenAI's form, until SIGTERM or SIGINT; then finishes what is in flight.

    Args:
        model: a run folder or a .gguf file
        host: the address to listen at; other machines reach it only where that is not this machine's own
        port: 0 for any that is free
        runtime: the name of one that opens GGUF files
        threads: of the processor; all where it is None
        slots: written answers side by side
        context: tokens of the longest question with its answer
        limits: of requests
        key: that clients must show
        on_start: hears where it listens, as soon as it does

    Raises:
        UserError: what is asked for cannot be done as asked
        RunFailure: what was in flight did not end in time
    """
    file, limits = model_file(model), limits or Limits()
    threads = (os.cpu_count() or 1) if threads is None else threads
    check_threads(threads)
    check_opens(runtime, "gguf")
    for name, value in (("slots", slots), ("context", context)):
        if value < 1:
            raise UserError(f"{value} {name} cannot work", where=f"`{name}`", hint="leave it out")
    with (
        closing(_listening(host, port)) as listener,
        closing(Service(file, runtime=runtime, threads=threads, slots=slots, context=context,
                        most_tokens=limits.answer_tokens)) as service,
    ):  # fmt: skip
        name = _name(model)
        serving = Serving(
            address=_address(host, listener),
            model=name,
            file=file,
            runtime=title_of(service.runtime.name),
            answers=len(service.answers),
            open_to_others=key is None and names_of(host) is None,
        )
        _run(service, name, limits, names_of(host), key, listener, lambda: on_start(serving))


def _run(
    service: Service,
    name: str,
    limits: Limits,
    names: frozenset[str] | None,
    key: str | None,
    listener: socket.socket,
    begun: Callable[[], None],
) -> None:
    from lightbulb.serving.metrics import Metrics
    from lightbulb.serving.routes import Routes

    with service.meter.window("service") as whole:
        batcher = Batcher(service, limits.waiting)
        metrics = Metrics(lambda: service.spent, whole.so_far, batcher)
        made = int(service.file.stat().st_mtime)
        app = Routes(name, made, service, batcher, limits, metrics).app()
        server = _server(Guard(app, limits, names, key, metrics.tell), limits)
        try:
            with _stopped_by_signals(server):
                begun()
                server.run(sockets=[listener])
        finally:
            batcher.close(GRACE_SECONDS)


def _server(app: Guard, limits: Limits) -> uvicorn.Server:
    import uvicorn

    from lightbulb.serving.connections import Connection

    config = uvicorn.Config(
        app,
        http=Connection.of(limits),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(GRACE_SECONDS),
    )
    return uvicorn.Server(config)


@contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """uvicorn stops at SIGTERM and SIGINT, and raises them again when it has stopped; here that is no failure."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listening(host: str, port: int) -> socket.socket:
    """Taken before the model is read: a port that cannot be had is known at once."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError, UnicodeError) as e:
        where = "`host`" if isinstance(e, socket.gaierror | UnicodeError) else "`port`"
        hint = "`host=127.0.0.1`" if where == "`host`" else "`port=0` takes any that is free"
        raise UserError(f"cannot listen at {host} port {port}: {e}", where=where, hint=hint) from e


def _address(host: str, listener: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _name(model: Path) -> str:
    """What clients call it: the run's folder, or the file."""
    return (model.resolve().name if model.is_dir() else model.stem) or "model"


def read_key(file: Path | None) -> str | None:
    """The key that clients must show: what `file` holds, else the environment variable LIGHTBULB_KEY; None for neither.

    Raises:
        UserError: the file cannot be read, or there is no key in it
    """
    try:
        key = os.environ.get(KEY) if file is None else file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"the key cannot be read: {e}", where=str(file)) from e
    if key is not None and not (key.isascii() and key.isprintable() and key and " " not in key):
        where = KEY if file is None else str(file)
        raise UserError("this is no key", where=where, hint="one line of ASCII letters and digits without blanks")
    return key
