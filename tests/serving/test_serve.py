"""`lightbulb serve` as it is typed, with a real model: started, asked, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from serving_toy import Client
from stories import stories260k

from lightbulb.models.gguf import write_gguf
from lightbulb.serving.ask import ask
from lightbulb.serving.serve import Serving


@pytest.fixture(scope="module")
def stories(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stories")
    if stories260k(folder) is None:
        pytest.skip("../shared/models/stories260K is not beside this checkout")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
    write_gguf(folder, folder / "stories.gguf", "f32")
    return folder / "stories.gguf"


class Started:
    """The command, from its start to its end."""

    def __init__(self, file: Path, *options: str):
        command = [sys.executable, "-m", "lightbulb", "serve", str(file), "--port", "0", "--threads", "1", "--json"]
        environment = os.environ | {"LIGHTBULB_KEY": "sesame"}
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        self.told = json.loads(line)
        self.client = Client(Serving(**self.told))

    def post(self, path: str, **body):
        reply = self.client.send("POST", path, json.dumps(body).encode(), Authorization="Bearer sesame")
        return reply.status, json.loads(reply.read())

    def stop(self, number: int) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_until_it_is_told_to_stop_and_finishes_what_is_in_flight(stories, number):
    started = Started(stories, "--context", "512", "--max-tokens", "400")
    assert started.told["model"] == "stories" and started.told["answers"] == 0 and not started.told["open_to_others"]
    assert started.client.get("/v1/models")[0] == 401
    status, reply = started.post("/v1/completions", prompt="Once upon a time", max_tokens=20)
    assert status == 200
    asked = ask(stories, "Once upon a time", max_tokens=20, threads=1)
    assert reply["choices"][0]["text"].strip() == asked.text, "ask and serve answer alike"
    assert reply["usage"]["prompt_tokens"] == asked.prompt_tokens
    assert reply["usage"]["joules"]["source"] == asked.joules.source
    long = {"prompt": "Once upon a time", "max_tokens": 400, "stream": True, "stream_options": {"include_usage": True}}
    reply = started.client.send("POST", "/v1/completions", json.dumps(long).encode(), Authorization="Bearer sesame")
    first = reply.read(20)
    started.process.send_signal(number)
    *events, usage, done = (first + reply.read()).decode().strip().split("\n\n")
    assert done == "data: [DONE]" and json.loads(usage[6:])["usage"]["completion_tokens"] == 400
    out, err = started.process.communicate(timeout=60)
    assert (started.process.returncode, out, err) == (0, "", "")


def test_a_second_service_at_the_same_port_is_refused(stories, capsys):
    from lightbulb.cli import main

    started = Started(stories)
    assert main(["serve", str(stories), "--port", str(started.client.port)]) == 2
    assert "cannot listen at 127.0.0.1" in capsys.readouterr().err
    assert started.stop(signal.SIGTERM)[0] == 0


def test_openai_s_own_client(stories, monkeypatch):
    openai = pytest.importorskip("openai", reason="the package openai is not installed")
    started = Started(stories, "--context", "512")
    try:
        client = openai.OpenAI(base_url=f"{started.told['address']}/v1", api_key="sesame", max_retries=0)
        assert [model.id for model in client.models.list()] == ["stories"]
        assert client.models.retrieve("stories").id == "stories"
        turns = [{"role": "user", "content": "Once upon a time"}]
        whole = client.chat.completions.create(model="stories", messages=turns, max_tokens=30)
        assert whole.usage.completion_tokens == 30 and whole.usage.joules["unit"] == "J"
        options = {"include_usage": True}
        chunks = list(
            client.chat.completions.create(
                model="stories", messages=turns, max_tokens=30, stream=True, stream_options=options
            )
        )
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert said == whole.choices[0].message.content and len(chunks) > 10
        assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
        text = client.completions.create(model="stories", prompt="Once upon a time", max_tokens=30, stop="\n")
        assert text.choices[0].text == said.partition("\n")[0]
        schema = {"enum": ["red", "blue"]}
        held = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        said = client.chat.completions.create(model="stories", messages=turns, response_format=held, max_tokens=60)
        word = json.loads(said.choices[0].message.content)
        assert word.replace(" ", "") in schema["enum"]  # this tokenizer prints a blank before its tokens of one byte
        held = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "king"}}}
        with pytest.raises(openai.BadRequestError, match="could not be held to this schema"):
            client.chat.completions.create(model="stories", messages=turns, response_format=held, max_tokens=200)
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="gpt-5", messages=turns)
        with pytest.raises(openai.BadRequestError, match="an answer may have"):
            client.chat.completions.create(model="stories", messages=turns, max_tokens=99_999)
    finally:
        assert started.stop(signal.SIGTERM)[0] == 0
