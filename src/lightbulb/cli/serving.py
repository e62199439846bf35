"""The verb serve."""

from __future__ import annotations

import json as json_format
import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tyro import conf

from lightbulb.cli.options import Omittable, threads_of

if TYPE_CHECKING:
    from lightbulb.serving.serve import Serving


def serve(
    model: conf.Positional[Path],
    host: str = "127.0.0.1",
    port: int = 8080,
    runtime: str = "llamacpp",
    threads: Omittable[int] = None,
    slots: int = 4,
    context: int = 2048,
    max_tokens: int = 1024,
    max_bytes: int = 1 << 20,
    max_seconds: float = 60.0,
    max_waiting: int = 128,
    key_file: Omittable[Path] = None,
    json: bool = False,
) -> None:
    """Serve a finished run, or any GGUF file, in OpenAI's form, until Ctrl-C or SIGTERM.

    Args:
        model: a run folder or a .gguf file
        host: address to listen at; others reach it only where that is not this machine's own
        port: port to listen at; 0 takes any that is free
        runtime: llamacpp, filament where it is built, or that of a plugin
        threads: processor threads (default: all that this process may use)
        slots: written answers side by side
        context: tokens of the longest question with its answer
        max_tokens: longest answer
        max_bytes: longest request
        max_seconds: longest time that a request may take
        max_waiting: requests that may wait
        key_file: a file with the key that clients must show (else the variable LIGHTBULB_KEY, if it is set)
        json: one JSON object on stdout as soon as it listens
    """
    from lightbulb import api
    from lightbulb.serving.limits import Limits
    from lightbulb.serving.serve import read_key

    logging.getLogger("asyncio").setLevel(logging.ERROR)  # a client that left is no news
    api.serve(
        model,
        host=host,
        port=port,
        runtime=runtime,
        threads=threads_of(threads),
        slots=slots,
        context=context,
        limits=Limits(max_bytes, max_tokens, max_seconds, max_waiting),
        key=read_key(key_file),
        on_start=_as_json if json else _print_address,
    )


def _as_json(serving: Serving) -> None:
    record = {**vars(serving), "file": str(serving.file)}
    print(json_format.dumps(record), flush=True)


def _print_address(serving: Serving) -> None:
    does = f"chooses among {serving.answers} answers" if serving.answers else "writes"
    print(f"{serving.file} ({serving.runtime}; it {does}) is served at {serving.address}. Ctrl-C stops it. Try:\n")
    path, body = "/v1/chat/completions", '{"messages": [{"role": "user", "content": "your question"}]}'
    if serving.answers:
        path, body = "/v1/classify", '{"input": "your question"}'
    print(f"  curl {serving.address}{path} -H 'Content-Type: application/json' -d {shlex.quote(body)}\n", flush=True)
    if serving.open_to_others:
        print("no key is asked for, and other machines may reach this service: see --key-file", file=sys.stderr)
