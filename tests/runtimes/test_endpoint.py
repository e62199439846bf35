"""An endpoint as a client meets it: a small server of this test's own, well-behaved and not."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from endpoint_server import event, good, serve

from lightbulb.core.errors import LightbulbError, ModelError
from lightbulb.runtimes.endpoint import KEY, Endpoint

HELLO = [{"role": "user", "content": "one two three"}]


@pytest.fixture
def served():
    servers = []

    def start(answer: Callable[[BaseHTTPRequestHandler, dict], None]) -> tuple[ThreadingHTTPServer, str]:
        servers.append(serve(answer))
        return servers[-1], f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def text(status: int, body: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler, dict], None]:
    def answer(handler: BaseHTTPRequestHandler, _: dict) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_tokens_and_times_of_a_streamed_answer(served, monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    server, url = served(lambda handler, body: good(handler, body, pause=0.05))
    came = [Endpoint(url, "m").ask(HELLO, 4) for _ in range(5)]
    assert {(c.prompt_tokens, c.output_tokens) for c in came} == {(7, 4)}
    assert all(c.seconds_to_first_token >= 0.05 and c.seconds >= 0.2 for c in came)
    assert min(c.seconds_to_first_token / c.seconds for c in came) < 0.75  # streamed; a busy machine may delay some
    path, headers, body = server.asked[0]
    assert path == "/v1/chat/completions" and "Authorization" not in headers
    assert body["model"] == "m" and body["stream"] and body["temperature"] == 0


def test_addresses_and_the_key(served, monkeypatch):
    monkeypatch.setenv(KEY, "secret")
    server, url = served(good)
    for path in ("", "/", "/v1", "/v1/", "/v1/chat/completions"):
        Endpoint(url + path, "m").ask(HELLO, 1)
    Endpoint(url + "/api/v3", "m").ask(HELLO, 1)
    assert [path for path, _, _ in server.asked] == ["/v1/chat/completions"] * 5 + ["/api/v3/chat/completions"]
    assert all(headers["Authorization"] == "Bearer secret" for _, headers, _ in server.asked)
    assert Endpoint(url, "m").is_here and Endpoint("http://localhost:1", "m").is_here
    assert not Endpoint("https://example.org/v1", "m").is_here
    with pytest.raises(ModelError, match="no address"):
        Endpoint("http:///v1", "m")


NO_USAGE = event(choices=[{"delta": {"content": "x"}}]) + b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    "answer, said",
    [
        (text(404, b'{"error": "no model m"}'), "404.*no model m"),
        (text(401, b"who are you"), "401.*who are you"),
        (text(302, b"", Location="http://127.0.0.1:9/"), "302"),
        (text(200, b"<html>hello</html>"), "does not stream.*hello"),
        (text(200, b'{"choices": [{"message": {"content": "x"}}]}'), "does not stream"),
        (text(200, b"data: {broken\n\n"), "does not stream"),
        (text(200, b'data: {"error": {"message": "out of memory"}}\n\n'), "out of memory"),
        (text(200, NO_USAGE), "usage"),
        (text(200, event(choices=[], usage={"prompt_tokens": "many", "completion_tokens": 1})), "usage"),
        (text(200, b""), "usage"),
    ],
)
def test_one_clear_error_for_what_is_not_the_protocol(served, answer, said):
    _, url = served(answer)
    with pytest.raises(LightbulbError, match=said) as error:
        Endpoint(url, "m").ask(HELLO, 2)
    assert url in (error.value.where or "") and error.value.hint


def test_nobody_there(served):
    server, url = served(good)
    server.shutdown()
    server.server_close()
    with pytest.raises(ModelError, match="cannot reach the endpoint") as error:
        Endpoint(url, "m").ask(HELLO, 1)
    assert error.value.exit_code == 2
