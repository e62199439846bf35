"""Whatever is sent: a clear error in OpenAI's form, or the connection is closed; and the next request is answered."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from http.client import IncompleteRead

import pytest

from lightbulb.cli import main
from lightbulb.core.errors import GoalError, UserError
from lightbulb.serving import connections, guard
from lightbulb.serving.limits import Limits
from lightbulb.serving.serve import read_key, serve

pytest_plugins = ["serving_fixtures"]

CHAT, TEXT, SORT = "/v1/chat/completions", "/v1/completions", "/v1/classify"


@pytest.fixture
def writes(toy, toy_file, serve_it):
    with serve_it(toy_file, runtime="toy", limits=Limits(body_bytes=20_000, answer_tokens=50, waiting=2)) as client:
        yield client
        assert client.chat("still here?", max_tokens=1)[0] == 200


def error_of(status_and_reply) -> tuple[int, dict]:
    status, reply = status_and_reply
    assert set(reply) == {"error"} and set(reply["error"]) == {"message", "type", "param", "code"}
    assert reply["error"]["message"] and "Traceback" not in reply["error"]["message"]
    return status, reply["error"]


TURNS = [{"role": "user", "content": "a"}]
WRONG = [
    (CHAT, {}, "messages"),
    (CHAT, {"messages": []}, "messages"),
    (CHAT, {"messages": "a"}, "messages"),
    (CHAT, {"messages": [{"role": "king", "content": "a"}]}, "messages.0.role"),
    (CHAT, {"messages": [{"role": "user", "content": " "}]}, "messages"),
    (
        CHAT,
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
        None,
    ),
    (CHAT, {"messages": TURNS, "max_tokens": "5"}, "max_tokens"),
    (CHAT, {"messages": TURNS, "max_tokens": 0}, "max_tokens"),
    (CHAT, {"messages": TURNS, "max_tokens": 51}, "max_tokens"),
    (CHAT, {"messages": TURNS, "max_tokens": 10**30}, "max_tokens"),
    (CHAT, {"messages": TURNS, "max_tokens": True}, "max_tokens"),
    (CHAT, {"messages": TURNS, "temperature": -1}, "temperature"),
    (CHAT, {"messages": TURNS, "top_p": 0}, "top_p"),
    (CHAT, {"messages": TURNS, "seed": -1}, "seed"),
    (CHAT, {"messages": TURNS, "stop": ["a"] * 5}, None),
    (CHAT, {"messages": TURNS, "stop": ""}, None),
    (CHAT, {"messages": TURNS, "n": 2}, "n"),
    (CHAT, {"messages": TURNS, "tools": [{}]}, "tools"),
    (CHAT, {"messages": TURNS, "no_such_thing": 1}, "no_such_thing"),
    (CHAT, {"messages": TURNS, "stream": 1}, "stream"),
    (CHAT, {"messages": TURNS, "response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    (TEXT, {"prompt": [1, 2]}, None),
    (TEXT, {"prompt": ["a", ""]}, "prompt.1"),
    (TEXT, {"prompt": []}, None),
    (TEXT, {"prompt": ["a"] * 2049}, None),
    (TEXT, {"prompt": None}, None),
]


def test_a_wrong_request_is_told_what_is_wrong(writes):
    for path, body, param in WRONG:
        status, error = error_of(writes.post(path, **body))
        assert status == 400 and error["type"] == "invalid_request_error", body
        assert param is None or error["param"] == param, body


def nested(depth: int) -> dict:
    made: dict = {}
    for _ in range(depth):
        made = {"properties": {"a": made}}
    return made


def test_a_schema_has_an_end(writes):
    large = {"properties": {"a": {"type": "array", "items": {"minItems": 10**9}}}}
    for schema in (nested(40), {"enum": ["x" * 200] * 90}, {"minItems": 1001}, large):
        asked = {"type": "json_schema", "json_schema": {"schema": schema}}
        status, error = error_of(writes.chat("a", response_format=asked))
        assert status == 400 and "too large" in error["message"]
    small = {"type": "json_schema", "json_schema": {"schema": nested(3)}}
    status, error = error_of(writes.chat("a", max_tokens=1, response_format=small))  # the toy cares for none
    assert status == 400 and "could not be held to this schema" in error["message"]
    assert writes.chat("1", max_tokens=1, response_format={"type": "text"})[0] == 200


BODIES = {
    b"": 400,
    b"{": 400,
    b"[]": 400,
    b"null": 400,
    b'"a"': 400,
    b'{"prompt": "a", "temperature": NaN}': 400,
    b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}": 400,
    b'{"prompt": "\xff\xfe"}': 400,
    '{"prompt": "a"}'.encode("utf-16"): 400,
    b'{"prompt": "\\ud800"}': 400,
    b'{"prompt": ' + b"[" * 9000 + b"]" * 9000 + b"}": 400,
    b'{"a":' * 3000 + b"1" + b"}" * 3000: 400,
    b'{"prompt": "' + b"a" * 20_000 + b'"}': 413,
    b'{"' + b"k" * 9000 + b'": 1, "prompt": "a"}': 400,
    b'{"prompt": "a\\u0000b \xf0\x9f\x98\x80", "max_tokens": 1}': 200,
}


def test_any_bytes(writes):
    for body, status in BODIES.items():
        reply = writes.send("POST", TEXT, body)
        text = json.loads(reply.read())
        assert reply.status == status, body[:60]
        if status != 200:
            error_of((status, text))
            assert len(text["error"]["message"]) < 400


def test_what_is_no_json_by_its_own_word_is_refused(writes):
    """A page of another site can send a form, and no more than that, without asking first."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        reply = writes.send("POST", TEXT, b'{"prompt": "a"}', Content_Type=kind)
        assert error_of((reply.status, json.loads(reply.read())))[0] == 415
    reply = writes.send("OPTIONS", CHAT, None, Origin="http://evil.example", Access_Control_Request_Method="POST")
    assert reply.status == 405 and not [h for h, _ in reply.getheaders() if h.lower().startswith("access-control")]


def test_a_name_of_the_web_is_not_ours(writes):
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost@evil"):
        reply = writes.send("GET", "/v1/models", Host=host)
        assert error_of((reply.status, json.loads(reply.read())))[0] == 403


def test_a_declared_length_is_refused_before_it_comes(writes):
    with writes.connect() as connection:
        connection.sendall(f"POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                           "Content-Length: 99999999999\r\n\r\n{".encode())  # fmt: skip
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_body_without_end_is_refused(writes):
    with writes.connect() as connection:
        connection.sendall(f"POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n".encode())  # fmt: skip
        for _ in range(30):
            connection.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_who_sends_on_after_a_refusal_still_hears_it(writes, kind):
    """A connection that is closed on unread bytes is reset, and what was said is lost."""
    with writes.connect() as connection:
        connection.sendall(f"POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
                           "Content-Length: 4000000\r\n\r\n".encode())  # fmt: skip
        for _ in range(40):
            connection.sendall(b" " * 100_000)
            time.sleep(0.005)
        status = b"HTTP/1.1 413" if kind == "application/json" else b"HTTP/1.1 415"
        assert connection.recv(1000).startswith(status)


def test_who_sends_on_without_end_is_cut_off(toy, toy_file, serve_it, monkeypatch):
    monkeypatch.setattr(guard, "LINGER_SECONDS", 0.3)
    with serve_it(toy_file, runtime="toy") as client, client.connect() as connection:
        connection.sendall(f"POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n".encode())  # fmt: skip
        with pytest.raises(OSError):
            for _ in range(1000):
                connection.sendall(b"1\r\n \r\n")
                time.sleep(0.01)


def test_what_is_no_http_is_closed(writes):
    for sent in (b"\x16\x03\x01\x02", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000, b"\r\n" * 9):
        heard = b""
        with suppress(ConnectionError), writes.connect() as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            heard = connection.recv(1000)
        assert b"200 OK" not in heard


@pytest.mark.parametrize("sent", [b"", b"POST /v1/completions HTTP/1.1\r\nHost: loc", b"HEAD"])
def test_who_sends_no_head_keeps_no_connection(toy, toy_file, serve_it, monkeypatch, sent):
    """Neither at first nor after an answer."""
    monkeypatch.setattr(connections, "PATIENCE_SECONDS", 0.3)
    with serve_it(toy_file, runtime="toy") as client:
        with client.connect() as connection:
            connection.sendall(sent)
            assert connection.recv(10) == b""
        with client.connect() as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            heard = b""
            while not heard.endswith(b"}"):
                heard += connection.recv(1000)
            connection.sendall(sent or b"G")
            assert b"200 OK" in heard and connection.recv(10) == b""


def test_who_sends_a_body_slowly_is_told_so(toy, toy_file, serve_it, monkeypatch):
    monkeypatch.setattr(guard, "PATIENCE_SECONDS", 0.3)
    with serve_it(toy_file, runtime="toy") as client, client.connect() as connection:
        connection.sendall(f"POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                           "Content-Length: 100\r\n\r\n{".encode())  # fmt: skip
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_an_answer_has_its_time(toy, toy_file, serve_it, monkeypatch):
    """One that has begun is broken off, and not written on; one that has not is refused."""
    monkeypatch.setattr(toy, "seconds_per_word", 0.05)
    with serve_it(toy_file, runtime="toy", limits=Limits(seconds=0.5)) as client:
        reply = client.send("POST", TEXT, json.dumps({"prompt": "a", "max_tokens": 400, "stream": True}).encode())
        with pytest.raises(IncompleteRead) as broken:
            reply.read()
        assert broken.value.partial.startswith(b"data: ")
        status, error = error_of(client.chat("a", max_tokens=60))
        assert status == 504 and error["code"] == "timeout" and error["type"] == "server_error"


def test_more_than_may_wait_are_told_when_to_come_back(writes, toy):
    toy.gate.clear()
    threads = [threading.Thread(target=writes.chat, args=(str(n),), kwargs={"max_tokens": 1}) for n in range(3)]
    for n, thread in enumerate(threads):
        thread.start()
        while not toy.calls or writes.get("/health")[1]["waiting"] < n:
            time.sleep(0.005)
    reply = writes.send("POST", TEXT, b'{"prompt": "a"}')
    assert error_of((reply.status, json.loads(reply.read())))[1]["code"] == "overloaded"
    assert reply.status == 503 and int(reply.getheader("Retry-After")) >= 1
    toy.gate.set()
    for thread in threads:
        thread.join(30)


def test_a_failure_of_ours_says_nothing_of_this_machine(writes, capfd):
    status, error = error_of(writes.chat("poison", max_tokens=1))
    assert status == 500 and error["type"] == "server_error" and "secret" not in json.dumps(error)
    assert "/secret/path failed" in capfd.readouterr().err, "who runs it must see it"
    reply = writes.send("POST", TEXT, json.dumps({"prompt": "poison", "stream": True}).encode())
    assert reply.status == 500 and "secret" not in reply.read().decode()


def test_a_question_without_room_is_refused(writes):
    for stream in (False, True):
        reply = writes.send("POST", TEXT, json.dumps({"prompt": "w " * 500, "stream": stream}).encode())
        assert "no room for an answer" in error_of((reply.status, json.loads(reply.read())))[1]["message"]
        assert reply.status == 400


def test_the_key_opens(toy, toy_file, serve_it):
    with serve_it(toy_file, runtime="toy", key="sesame-1234") as client:
        for shown in (
            {},
            {"Authorization": "Bearer sesame"},
            {"Authorization": "sesame-1234"},
            {"Authorization": "Bearer \xe9"},
        ):
            for path in ("/v1/models", "/metrics", "/nothing"):
                reply = client.send("GET", path, **shown)
                assert error_of((reply.status, json.loads(reply.read())))[1]["code"] == "invalid_api_key"
                assert reply.status == 401 and reply.getheader("WWW-Authenticate") == "Bearer"
        assert client.get("/health")[0] == 200
        assert client.get("/v1/models", Authorization="Bearer sesame-1234")[0] == 200


def test_where_the_key_comes_from(tmp_path, monkeypatch):
    monkeypatch.delenv("LIGHTBULB_KEY", raising=False)
    assert read_key(None) is None
    monkeypatch.setenv("LIGHTBULB_KEY", "abc")
    (file := tmp_path / "key").write_text("def\n")
    assert (read_key(None), read_key(file)) == ("abc", "def")
    for bad in ("", "two words", "two\nlines"):
        file.write_text(bad)
        with pytest.raises(UserError, match="this is no key") as error:
            read_key(file)
        assert bad == "" or bad not in str(error.value)
    file.write_bytes(b"\xff")
    for unreadable in (file, tmp_path / "none"):
        with pytest.raises(UserError, match="the key cannot be read"):
            read_key(unreadable)


def test_what_cannot_be_served_is_known_at_once(toy, toy_file, serve_it, tmp_path, capsys):
    with serve_it(toy_file, runtime="toy") as client, pytest.raises(UserError, match="cannot listen at 127.0.0.1"):
        serve(toy_file, runtime="toy", port=client.port)
    with pytest.raises(UserError, match="cannot listen") as error:
        serve(toy_file, runtime="toy", host="no.such.host.invalid")
    assert error.value.where == "`host`"
    for wrong in ({"port": 70_000}, {"threads": 0}, {"slots": 0}, {"context": 0}):
        with pytest.raises(UserError):
            serve(toy_file, runtime="toy", **wrong)
    with pytest.raises(GoalError):
        Limits(seconds=0)
    assert main(["serve", str(tmp_path)]) == 2 and "there is no model here yet" in capsys.readouterr().err
    assert main(["serve", str(toy_file), "--max-waiting", "0"]) == 2 and "--max-waiting" in capsys.readouterr().err
