from __future__ import annotations

import json
import shutil

import pytest
from tiny import tiny_model

from lightbulb.formats.gguf.header import GgufHeader
from lightbulb.models import origin as module
from lightbulb.models import resolve as resolving
from lightbulb.models.origin import PACKAGED, Origin, front_matter, origin_of
from lightbulb.models.resolve import SHORT_NAMES, ModelSource, resolve


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("origin") / "tiny-llama")


@pytest.fixture
def folder(model, tmp_path):
    return shutil.copytree(model, tmp_path / "mine")


def card(folder, text):
    (folder / "README.md").write_text(text, encoding="utf-8")
    return origin_of(resolve(str(folder)))


def test_a_folder_without_a_card_says_nothing(folder):
    assert origin_of(resolve(str(folder))) == Origin(name="mine")


def test_a_card_names_base_and_licence(folder):
    found = card(folder, "---\nlicense: Apache-2.0\nbase_model:\n- org/base\n---\n# Mine\n")
    assert found == Origin(name="mine", repo="org/base", license="apache-2.0")


def test_a_merge_of_several_has_no_single_base(folder):
    assert card(folder, "---\nbase_model: [org/a, org/b]\n---\n").repo is None


def test_the_config_may_name_where_it_was_loaded_from(folder):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    for path, repo in (("org/base", "org/base"), ("/home/me/base", None), ("./base", None), (7, None)):
        file.write_text(json.dumps(config | {"_name_or_path": path}))
        assert origin_of(resolve(str(folder))).repo == repo


@pytest.mark.parametrize(
    "text",
    [
        "no front matter",
        "---\nlicense: [\n---\n",
        "---\njust text\n---\n",
        "---\nlicense: <script>alert(1)</script>\nbase_model: ../../etc\n---\n",
        "---\nlicense: {a: 1}\nbase_model: 2026-01-01\n---\n",
        "---\n" + "[" * 5000 + "\n---\n",
        "---\nlicense: mit\n" + "x" * 200_000,
    ],
)
def test_odd_and_hostile_cards_say_nothing(folder, text):
    assert card(folder, text) == Origin(name="mine")


def test_a_card_that_is_not_text(folder):
    (folder / "README.md").write_bytes(b"---\nlicense: \xff\xfe\n---\n")
    assert front_matter(folder / "README.md") == {}


@pytest.mark.parametrize(
    ("fields", "repo", "license"),
    [
        ({}, None, None),
        ({"general.license": "apache-2.0"}, None, "apache-2.0"),
        ({"general.license": ["mit"], "general.repo_url": 3}, None, None),
        ({"general.repo_url": "https://huggingface.co/org/this/"}, "org/this", None),
        ({"general.base_model.0.repo_url": "https://huggingface.co/org/base"}, "org/base", None),
        ({"general.base_model.count": 2, "general.base_model.0.repo_url": "https://huggingface.co/org/a"}, None, None),
        ({"general.repo_url": "https://example.org/org/base"}, None, None),
    ],
)
def test_a_gguf_says_it_in_its_metadata(tmp_path, fields, repo, license):
    header = GgufHeader({"general.name": " Tiny\nLlama ", **fields}, [])
    found = origin_of(ModelSource(None, None, tmp_path / "m.gguf", "m", header))
    assert found == Origin(name="Tiny Llama", repo=repo, license=license)


def test_a_short_name_is_known_and_a_file_called_so_is_not(tmp_path, monkeypatch):
    assert PACKAGED.keys() == SHORT_NAMES.keys()
    packaged = tmp_path / "package" / "x.gguf"
    monkeypatch.setattr(resolving, "_packaged_files", lambda name: [packaged])
    assert origin_of(ModelSource(None, None, packaged, "smollm2-135m")).license == "apache-2.0"
    other = ModelSource(None, None, tmp_path / "smollm2-135m.gguf", "smollm2-135m", GgufHeader({}, []))
    assert origin_of(other) == Origin(name="smollm2-135m")


def test_a_hub_id_is_its_own_base(folder, monkeypatch):
    (folder / "README.md").write_text("---\nlicense: mit\nbase_model: org/parent\n---\n")
    monkeypatch.setattr(module, "local_folder", lambda source: folder)
    found = origin_of(ModelSource(None, "org/model", None, "org/model"))
    assert found == Origin(name="org/model", repo="org/model", license="mit")
