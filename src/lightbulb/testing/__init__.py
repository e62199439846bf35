"""Conformance suites: what every pass, runtime, sensor and quant type must hold, lightbulb's own and those of plugins.

    # test_my_pass.py
    from lightbulb.testing import PassCase, PassConformance

    class TestMyPass(PassConformance):
        @pytest.fixture
        def case(self, tmp_path):
            return PassCase(MyPass(strength=1), source=..., task=..., changed=MyPass(strength=2))

pytest collects the checks of the base class and runs each on the fixture `case`; tiny models keep that to seconds.
A whole plugin with its tests: examples/plugin.
"""

from __future__ import annotations

from lightbulb.testing.passes import PassCase, PassConformance, Stop, Stopped, frequent_checkpoints
from lightbulb.testing.quant_types import QuantTypeCase, QuantTypeConformance
from lightbulb.testing.runtimes import RuntimeCase, RuntimeConformance
from lightbulb.testing.sensors import SensorCase, SensorConformance

__all__ = [
    "PassCase",
    "PassConformance",
    "QuantTypeCase",
    "QuantTypeConformance",
    "RuntimeCase",
    "RuntimeConformance",
    "SensorCase",
    "SensorConformance",
    "Stop",
    "Stopped",
    "frequent_checkpoints",
]
