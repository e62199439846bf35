"""What a stranger may ask of a service, and how it is told what was wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightbulb.core.errors import GoalError, LightbulbError, UserError
from lightbulb.serving.batching import Busy, Closed

GRACE_SECONDS = 20.0  # for what is in flight when the service is stopped
PATIENCE_SECONDS = 10.0  # for the head of a request, and for its body
LINGER_SECONDS = 2.0  # for the rest of a request that is refused before its end
CONNECTIONS_PER_REQUEST = 2  # open connections for each request that may wait
TEXTS = 2048  # of one request


@dataclass(frozen=True)
class Limits:
    """What one request may take, and how many may wait.

    Attributes:
        body_bytes: length of a request
        answer_tokens: of an answer
        seconds: from a request's first byte to the last of its answer
        waiting: requests in the queue
    """

    body_bytes: int = 1 << 20
    answer_tokens: int = 1024
    seconds: float = 60.0
    waiting: int = 128

    def __post_init__(self) -> None:
        names = {"body_bytes": "max_bytes", "answer_tokens": "max_tokens", "seconds": "max_seconds"}
        for name, value in vars(self).items():
            if not value > 0:
                raise GoalError(
                    f"a limit of {value:g} lets nothing through", where=f"`{names.get(name, 'max_waiting')}`"
                )


@dataclass
class Refused(Exception):
    """A request that is not answered, as OpenAI's servers say it."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def refusal(error: BaseException) -> Refused:
    """Any error as it is told to a stranger: no paths, and nothing of what a failure of ours was."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, Busy):
        again = {"Retry-After": str(error.seconds)}
        return Refused(503, f"{error.what}; {error.hint}", code="overloaded", headers=again)
    if isinstance(error, Closed):
        return Refused(503, error.what, code="stopping", headers={"Retry-After": "1"})
    if isinstance(error, UserError):
        named = re.fullmatch(r"`(\w+)`", error.where or "")
        message = error.what + (f"; hint: {error.hint.replace('`', '')}" if error.hint else "")
        return Refused(400, message, param=named[1] if named else None, code="invalid_value")
    if isinstance(error, LightbulbError):
        return Refused(500, "the model failed at this request", code="model_failed")
    return Refused(500, "the service failed at this request", code="internal_error")
