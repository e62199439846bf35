"""An endpoint as a client meets it: a small server of this test's own, well-behaved and not."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from endpoint_server import event, good, serve

from lightbulb.core.errors import LightbulbError, ModelError, UserError
from lightbulb.passes.evaluate import answer, score_of
from lightbulb.runtimes.endpoint import KEY, Endpoint
from lightbulb.runtimes.exchange import Options, Sampling
from lightbulb.tasks.task import Example, Task

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
    assert {(c.text, c.prompt_tokens, c.output_tokens) for c in came} == {("word word word word ", 7, 4)}
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


def says(*texts: str, holds: bool = True, refuses: int = 0) -> Callable[[BaseHTTPRequestHandler, dict], None]:
    """A server whose model says these texts in turn; to a question with a schema, as JSON (if it `holds` to it) or an
    HTTP error."""
    turn = iter(texts)

    def answer(handler: BaseHTTPRequestHandler, body: dict) -> None:
        if "response_format" in body and refuses:
            return text(refuses, b"unknown field")(handler, body)
        said = next(turn)
        if "response_format" in body and holds:
            said = json.dumps({"answer": said})
        usage = {"prompt_tokens": 5, "completion_tokens": 2}
        pieces = b"".join(event(choices=[{"delta": {"content": piece}}]) for piece in (said[:2], said[2:]))
        text(200, pieces + event(choices=[], usage=usage) + b"data: [DONE]\n\n")(handler, body)

    return answer


def test_a_written_answer_with_its_options(served):
    server, url = served(says("one two"))
    endpoint, heard = Endpoint.open(f"{url}/v1#m"), []
    prompt = endpoint.render(HELLO)
    options = Options(
        stop=("three",),
        schema='{"type": "object"}',
        sampling=Sampling(temperature=0.7, top_p=0.9, seed=5),
        stream=lambda n, piece: heard.append((n, piece)),
    )
    answers = endpoint.generate([prompt], 4, options)
    assert (answers.texts, answers.prompt_tokens, answers.output_tokens) == (['{"answer": "one two"}'], 5, 2)
    assert heard == [(0, '{"'), (0, 'answer": "one two"}')]
    _, _, body = server.asked[0]
    assert body["messages"] == HELLO and body["max_tokens"] == 4
    assert (body["stop"], body["temperature"], body["top_p"], body["seed"]) == (["three"], 0.7, 0.9, 5)
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    with pytest.raises(ModelError, match="which of the endpoint's models") as error:
        Endpoint.open(f"{url}/v1")
    assert error.value.hint == f"{url}/v1#NAME"


@pytest.mark.parametrize(
    "server_of, asked, found",
    [
        (says("red", "blue"), [True, True], ["red", "blue"]),
        (says("red", " blue ", "sky", holds=False), [True, False, False], ["blue", "sky"]),  # it ignores the field
        (says("red", "sky", refuses=400), [True, False, False], ["red", "sky"]),
    ],
)
def test_a_closed_set_is_held_where_the_server_can(served, server_of, asked, found):
    server, url = served(server_of)
    endpoint = Endpoint(url, "m")
    assert endpoint.answer([endpoint.render(HELLO)] * 2, ["blue", "red"]).texts == found
    assert ["response_format" in body for _, _, body in server.asked] == asked
    told = server.asked[0][2]["messages"][-1]["content"]
    assert told.startswith("one two three") and told.endswith("blue; red")
    assert server.asked[0][2].get("response_format", {}).get("type") == "json_schema"


def test_a_refusal_of_something_else_is_no_reason_to_ask_otherwise(served):
    server, url = served(says("red", refuses=401))
    with pytest.raises(ModelError, match="401"):
        Endpoint(url, "m").answer([json.dumps(HELLO)], ["blue", "red"])
    assert len(server.asked) == 1


def test_an_endpoint_is_scored_on_a_task(served):
    """As a file is: each question once."""
    rows = [Example(prompt, "red" if "r" in prompt else "blue") for prompt in ("rose", "sky", "rose", "sea")]
    task = Task("colours", "choose", "accuracy", tuple(rows), (), tuple(rows), answers=("blue", "red"))
    server, url = served(says("red", "blue", "red"))
    answered, _, tokens = answer(Endpoint(url, "m"), task, task.test, lambda done, note: None, together=8)
    assert answered == ["red", "blue", "red", "red"] and tokens["num_prompts"] == len(server.asked) == 3
    assert score_of(task, task.test, answered).value == 0.75


def test_documents_are_refused_before_anything_is_asked(served):
    server, url = served(good)
    rows = (Example("", "a document"),)
    task = Task("documents", "text", "bits-per-byte", rows, (), rows)
    with pytest.raises(UserError, match="an endpoint cannot score documents") as error:
        answer(Endpoint(url, "m"), task, task.test, lambda done, note: None, together=8)
    assert "`runtime=llamacpp`" in error.value.hint and server.asked == []


def test_nobody_there(served):
    server, url = served(good)
    server.shutdown()
    server.server_close()
    with pytest.raises(ModelError, match="cannot reach the endpoint") as error:
        Endpoint(url, "m").ask(HELLO, 1)
    assert error.value.exit_code == 2
