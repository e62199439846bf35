"""Entry points of other distributions: found by name, imported late, refused clearly."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lightbulb.core import plugins
from lightbulb.core.errors import PluginError, RecipeError, UnsupportedModel, UserError
from lightbulb.doctor.software import look
from lightbulb.energy.sensors import discover
from lightbulb.models.families import architecture_spec, family_names
from lightbulb.models.gguf_shape import shape_fields
from lightbulb.models.spec_config import spec_of_config
from lightbulb.passes import PASSES, pass_class
from lightbulb.runtimes import runtime_class, runtime_names
from lightbulb.runtimes.registry import BUILT_IN
from lightbulb.tasks import metrics

SENSOR = """
from lightbulb.energy.sensors.base import Discovery
from lightbulb.energy.sensors.replay import ReplaySensor

def find():
    return Discovery((ReplaySensor([(0.0, 0.0)], lambda: 0.0, name="bench-0"),), ("The bench is cold.",))
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution of one module, by hand: `install("name", group, entry, code)`."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name: str, group: str, entry: str, code: str | None = None) -> Path:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")
        if code is not None:
            (tmp_path / f"{name}.py").write_text(code)
        plugins._installed.cache_clear()
        return tmp_path / f"{name}.py"

    yield put
    plugins._installed.cache_clear()


@pytest.mark.parametrize("group", plugins.GROUPS)
def test_nothing_is_imported_before_it_is_asked_for(install, group):
    install("lb_late", group, "late = lb_late:thing", "thing = 7")
    assert "late" in plugins.names(group) and "lb_late" not in sys.modules
    assert plugins.load(group, "another") is None and "lb_late" not in sys.modules
    assert plugins.load(group, "late") == 7
    del sys.modules["lb_late"]


def test_one_that_cannot_be_imported_names_its_distribution(install):
    install("lb_broken", plugins.PASSES, "broken = lb_broken:Broken", "import nowhere_to_be_found")
    with pytest.raises(PluginError, match="the plugin 'broken' of lb_broken 1.0.*nowhere_to_be_found") as error:
        pass_class("broken")
    assert error.value.exit_code == 2 and "pip uninstall lb_broken" in error.value.hint
    assert pass_class("export").name == "export", "the others work"


def test_names_that_clash_are_refused(install):
    install("lb_one", plugins.PASSES, "twice = lb_one:A", "")
    install("lb_two", plugins.PASSES, "twice = lb_two:A", "")
    with pytest.raises(PluginError, match="lb_one 1.0 and lb_two 1.0 each have something called 'twice'"):
        pass_class("twice")
    install("lb_three", plugins.RUNTIMES, "llamacpp = lb_three:A", "")
    with pytest.raises(PluginError, match="lightbulb and lb_three 1.0 each") as error:
        runtime_class("llamacpp")
    assert error.value.hint == "pip uninstall lb_three"
    install("lb_four", plugins.METRICS, "accuracy = lb_four:A", "")
    with pytest.raises(PluginError, match="lightbulb and lb_four 1.0 each"):
        metrics.check_metric("accuracy")


def test_what_is_no_pass_or_no_runtime_is_refused(install):
    install("lb_odd", plugins.PASSES, "odd = lb_odd:thing", "thing = 7")
    with pytest.raises(PluginError, match="no subclass of lightbulb.passes.base.Pass"):
        pass_class("odd")
    install("lb_other", plugins.RUNTIMES, "mine = lb_other:R", "from lightbulb.runtimes.torch import Torch as R")
    with pytest.raises(PluginError, match="registered as 'mine' and calls itself 'torch'"):
        runtime_class("mine")


def test_an_unknown_name_lists_those_known(install):
    install("lb_more", plugins.RUNTIMES, "more = lb_more:R", "")
    assert runtime_names() == [*BUILT_IN, "more"]
    with pytest.raises(UserError, match="no runtime 'mroe'") as error:
        runtime_class("mroe")
    assert error.value.hint == "use one of llamacpp, filament, torch, endpoint, more"
    install("lb_pass", plugins.PASSES, "polish = lb_pass:P", "")
    with pytest.raises(RecipeError) as error:
        pass_class("plish")
    assert error.value.hint == f"use one of {', '.join(PASSES)}, polish"


def test_a_metric_of_a_plugin_scores_and_its_faults_are_named(install):
    code = "def half(prediction, reference):\n    return 0.5 if prediction else 2.0\n"
    install("lb_metric", plugins.METRICS, "half = lb_metric:half", code)
    metrics.check_metric("half")
    assert metrics.score("half", ["a", "b"], ["c", "d"]).value == 0.5
    with pytest.raises(UserError, match="the metric 'half' returned 2.0"):
        metrics.score("half", [""], ["c"])
    with pytest.raises(UserError, match="unknown metric 'hlaf'") as error:
        metrics.check_metric("hlaf")
    assert "half" in error.value.hint


def test_sensors_of_plugins_are_found_and_those_that_fail_are_remarks(install, tmp_path):
    install("lb_bench", plugins.SENSORS, "bench = lb_bench:find", SENSOR)
    install("lb_again", plugins.SENSORS, "more = lb_bench:find")
    install("lb_bad", plugins.SENSORS, "bad = lb_bad:find", "def find():\n    raise OSError('no bench')\n")
    install("lb_worse", plugins.SENSORS, "worse = lb_worse:find", "import nowhere_to_be_found")
    found = discover(tmp_path / "empty", {})
    assert [s.name for s in found.sensors if s.name.startswith("bench")] == ["bench-0"]
    remarks = "\n".join(found.diagnostics)
    for told in (
        "The bench is cold.",
        "'more' of lb_again 1.0 has a sensor 'bench-0', which another is called",
        "'bad' of lb_bad 1.0 cannot look for sensors (OSError: no bench)",
        "'worse' of lb_worse 1.0 cannot be used: ModuleNotFoundError",
    ):
        assert told in remarks


def test_the_doctor_lists_the_runtimes_of_plugins(install):
    install("lb_doctor", plugins.RUNTIMES, "fast = lb_doctor:R", "import nowhere_to_be_found")
    (found,) = [r for r in look(Path("/")).runtimes if r.package == "lb_doctor"]
    assert (found.name, found.version, found.hint) == ("fast", "1.0", None)


FAMILY = """
from lightbulb.models.families import PLAIN_NORMS, ArchitectureSpec

FAMILY = ArchitectureSpec("our_llama", "llama", norms=PLAIN_NORMS)
"""


def test_a_family_of_a_plugin_is_a_family(install):
    install("lb_family", plugins.FAMILIES, "our_llama = lb_family:FAMILY", FAMILY)
    assert architecture_spec({"model_type": "our_llama"}).gguf == "llama" and "our_llama" in family_names()
    values = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    values |= {"intermediate_size": 128, "vocab_size": 512, "max_position_embeddings": 256, "rms_norm_eps": 1e-5}
    spec = spec_of_config(values | {"model_type": "our_llama"})
    alike = spec_of_config(values | {"model_type": "llama"})
    assert spec.parameters() == alike.parameters() and shape_fields(spec) == shape_fields(alike)
    with pytest.raises(UnsupportedModel, match="'their_llama' are not supported") as error:
        architecture_spec({"model_type": "their_llama"})
    assert "our_llama" in error.value.hint
    install("lb_odd_family", plugins.FAMILIES, "their_llama = lb_odd_family:FAMILY", "FAMILY = 7")
    with pytest.raises(PluginError, match="7 is no ArchitectureSpec of the family 'their_llama'"):
        architecture_spec({"model_type": "their_llama"})
