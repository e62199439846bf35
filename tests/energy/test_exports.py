"""What other tools read from us: the right columns, the right units, nothing where nothing was measured."""

from __future__ import annotations

import csv
import io
import math
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import published

from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure
from lightbulb.energy.exports import (
    EMISSIONS_COLUMNS,
    Metric,
    append_emissions,
    co2_eq_emissions,
    emissions_row,
    prometheus_text,
    reading_metrics,
    serve_metrics,
)
from lightbulb.energy.meter import Reading

# The first line of the file that `codecarbon==3.3.2` writes.
CODECARBON_HEADER = (
    "timestamp,project_name,run_id,experiment_id,duration,emissions,emissions_rate,cpu_power,gpu_power,ram_power,"
    "cpu_energy,gpu_energy,ram_energy,energy_consumed,water_consumed,country_name,country_iso_code,region,"
    "cloud_provider,cloud_region,os,python_version,codecarbon_version,cpu_count,cpu_model,gpu_count,gpu_model,"
    "longitude,latitude,ram_total_size,tracking_mode,cpu_utilization_percent,gpu_utilization_percent,"
    "ram_utilization_percent,ram_used_gb,on_cloud,pue,wue"
)
# And that of 2.3.4, in 2023.
OLD_HEADER = (
    "timestamp,project_name,run_id,duration,emissions,emissions_rate,cpu_power,gpu_power,ram_power,cpu_energy,"
    "gpu_energy,ram_energy,energy_consumed,country_name,country_iso_code,region,cloud_provider,cloud_region,os,"
    "python_version,codecarbon_version,cpu_count,cpu_model,gpu_count,gpu_model,longitude,latitude,ram_total_size,"
    "tracking_mode,on_cloud,pue"
)


def joules(value: float | None, **more: object) -> Figure:
    return Figure(value=value, unit="J", scope="chip", **more)


def counted(**by_sensor: float | None) -> Reading:
    """100 s with these sensors (package_0=...), whose sum is the reading's."""
    figures = {name.replace("_", "-"): joules(value) for name, value in by_sensor.items()}
    parts = [v for name, v in by_sensor.items() if "power" not in name]
    whole = None if None in parts else sum(parts)
    return Reading("train", 100.0, Figure(value=90.0, unit="s", scope="process"), joules(whole), figures)


def estimated(value: float | None = 3600.0, name: str = "train") -> Reading:
    ends = {} if value is None else {"low": value / 2, "high": value * 2}
    figure = Figure(value=value, **ends, unit="J", scope="wall", source="estimated", method="share of a server")
    return Reading(name, 100.0, Figure(value=90.0, unit="s", scope="process"), figure, {})


def test_columns_are_those_of_codecarbon(tmp_path):
    append_emissions(tmp_path / "emissions.csv", emissions_row(estimated()))
    assert (tmp_path / "emissions.csv").read_text().splitlines()[0] == CODECARBON_HEADER == ",".join(EMISSIONS_COLUMNS)


def test_units_are_those_of_codecarbon():
    reading = counted(package_0=180_000.0, package_1=180_000.0, dram_0=36_000.0, gpu_0=720_000.0, gpu_0_power=700_000.0)
    row = emissions_row(reading, zone="FRA", pue=1.5, finished=datetime(2026, 5, 4, 3, 2, 1))
    assert (row["timestamp"], row["duration"], row["project_name"]) == ("2026-05-04T03:02:01", 100.0, "train")
    assert [row[f"{p}_power"] for p in ("cpu", "gpu", "ram")] == [5400.0, 10800.0, 540.0]  # W, PUE included
    assert row["cpu_energy"] == pytest.approx(0.15) and row["gpu_energy"] == pytest.approx(0.3)  # kWh
    assert row["energy_consumed"] == pytest.approx(0.15 + 0.3 + 0.015)
    assert (row["country_iso_code"], row["country_name"], row["gpu_count"]) == ("FRA", "France", 1)
    assert (row["tracking_mode"], row["pue"]) == ("machine", 1.5)
    from lightbulb.energy.carbon import find_zone

    kilograms = 0.465 * find_zone("FRA").grams_co2e_per_kwh / 1000
    assert row["emissions"] == pytest.approx(kilograms)
    assert row["emissions_rate"] == pytest.approx(kilograms / 100)


def test_what_was_not_measured_is_an_empty_field_never_zero(tmp_path):
    path = tmp_path / "emissions.csv"
    append_emissions(path, emissions_row(estimated()))
    append_emissions(path, emissions_row(counted(package_0=None, gpu_0=50.0)))
    guess, broken = csv.DictReader(path.open())
    for part in ("cpu_energy", "gpu_energy", "ram_energy", "cpu_power", "water_consumed", "gpu_count", "wue"):
        assert guess[part] == ""
    assert float(guess["energy_consumed"]) == pytest.approx(0.001) and guess["tracking_mode"] == "process"
    for total in ("energy_consumed", "emissions", "emissions_rate", "cpu_energy"):
        assert broken[total] == ""
    assert float(broken["gpu_energy"]) == pytest.approx(50 / 3.6e6)


def test_pandas_reads_numbers_and_leaves_out_what_is_missing(tmp_path):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "emissions.csv"
    for reading in (estimated(3600.0), estimated(None), estimated(7200.0, 'odd, "name"\nof two lines')):
        append_emissions(path, emissions_row(reading))
    table = pandas.read_csv(path)
    assert table["energy_consumed"].dtype.kind == table["emissions"].dtype.kind == "f"
    assert table["energy_consumed"].sum() == pytest.approx(0.003)
    assert math.isnan(table["energy_consumed"][1]) and math.isnan(table["cpu_energy"][0])
    assert table["project_name"][2] == 'odd, "name"\nof two lines'


@pytest.mark.parametrize("header", [OLD_HEADER, CODECARBON_HEADER])
def test_rows_follow_the_header_of_the_file_that_is_there(tmp_path, header):
    path = tmp_path / "emissions.csv"
    path.write_text(header + "\n")
    append_emissions(path, emissions_row(estimated(), zone="DEU"))
    (row,) = csv.DictReader(path.open())
    assert list(row) == header.split(",") and None not in row.values()
    assert (row["country_iso_code"], float(row["duration"]), row["gpu_model"]) == ("DEU", 100.0, "")


def rows_of(path: Path, encoding: str, delimiter: str, skip: int = 0) -> list[dict[str, str]]:
    """Read in another way than the package reads: by pandas' rules for spreadsheets."""
    lines = path.read_bytes().decode(encoding).splitlines()[skip:]
    return list(csv.DictReader(lines, delimiter=delimiter))


OLD = OLD_HEADER.split(",")
ORDER = [*reversed(OLD), "notes"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize(("encoding", "mark"), [("utf-8", b""), ("utf-8-sig", b"\xef\xbb\xbf"), ("latin-1", b"")])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("order", [OLD, ORDER], ids=["old", "other order and a column more"])
def test_rows_follow_whatever_a_spreadsheet_made_of_the_file(
    tmp_path, newline, ended, encoding, mark, delimiter, order
):
    path = tmp_path / "emissions.csv"
    cells = [{"project_name": "caf\xe9", "notes": "mine"}.get(name, "7") for name in order]
    text = newline.join([delimiter.join(order), delimiter.join(cells)]) + (newline if ended else "")
    before = mark + text.encode(encoding.removesuffix("-sig"))
    path.write_bytes(before)
    for name in ("first", 'odd, "na;me"'):
        append_emissions(path, emissions_row(estimated(name=name), zone="DEU"))
    assert path.read_bytes().startswith(before)
    old, first, odd = rows_of(path, encoding, delimiter)
    assert list(old.values()) == cells and old.keys() == first.keys() == odd.keys() == set(order)
    assert (first["project_name"], odd["project_name"]) == ("first", 'odd, "na;me"')
    assert {r["country_iso_code"] for r in (first, odd)} == {"DEU"} and first.get("notes", "") == ""
    assert float(first["duration"]) == 100.0 and newline.encode() * 2 not in path.read_bytes()


def test_decimal_commas_stay_decimal_commas(tmp_path):
    path = tmp_path / "emissions.csv"
    path.write_text("sep=;\n" + ";".join(OLD) + "\n" + ";".join("0,25" for _ in OLD))
    append_emissions(path, emissions_row(estimated()))
    rows = rows_of(path, "utf-8", ";", skip=1)
    assert rows[0]["duration"] == "0,25" and rows[1]["duration"] == "100,0"
    assert float(rows[1]["energy_consumed"].replace(",", ".")) == pytest.approx(0.001)


def test_headers_in_quotes_and_other_letters_are_known(tmp_path):
    path = tmp_path / "emissions.csv"
    path.write_text(",".join(f'" {name.title()}"' for name in OLD))
    append_emissions(path, emissions_row(estimated()))
    (row,) = csv.DictReader(path.open())
    assert row[" Duration"] == "100.0" and row[" Project_Name"] == "train"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf", b"  \r\n"])
def test_an_empty_file_gets_its_header(tmp_path, content):
    path = tmp_path / "emissions.csv"
    path.write_bytes(content)
    append_emissions(path, emissions_row(estimated()))
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    assert lines[0] == CODECARBON_HEADER and len(lines) == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (OLD_HEADER.encode("utf-16"), "UTF-16"),
        (OLD_HEADER.encode() + b"\n\0\0", "no text"),
        (OLD_HEADER.encode() + b'\n"a,b', "not closed"),
        (b"sep=;\n" + OLD_HEADER.encode(), "no columns"),
        (b"PK\x03\x04 emissions", "no columns"),
    ],
)
def test_what_no_row_can_follow_is_refused_and_left_alone(tmp_path, content, why):
    path = tmp_path / "emissions.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=why) as e:
        append_emissions(path, emissions_row(estimated()))
    assert e.value.hint and str(path) in str(e.value) and path.read_bytes() == content


def test_the_published_case_is_continued(tmp_path):
    path = tmp_path / "emissions.csv"
    path.write_bytes(published("cases/emissions_no_newline.csv").read_bytes())
    before = list(csv.DictReader(path.open()))
    append_emissions(path, emissions_row(estimated()))
    after = list(csv.DictReader(path.open()))
    assert after[:-1] == before and after[-1]["project_name"] == "train" and None not in after[-1]


def test_another_file_is_left_alone(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("name,age\nAda,36\n")
    with pytest.raises(UserError, match="duration, emissions"):
        append_emissions(path, emissions_row(estimated()))
    assert path.read_text() == "name,age\nAda,36\n"
    with pytest.raises(UserError, match="no file"):
        append_emissions(path / "emissions.csv", emissions_row(estimated()))


def test_the_block_of_a_model_card():
    grams = Figure(
        value=12.345678, low=6.0, high=24.0, unit="g CO2e", source="estimated", method="location-based, France"
    )
    block = co2_eq_emissions(grams, training_type="fine-tuning", hardware_used="1 x A100")
    assert block == {
        "emissions": 12.35,
        "source": "lightbulb: 12.3 g CO2e [6.00, 24.0] (estimated), location-based, France",
        "training_type": "fine-tuning",
        "hardware_used": "1 x A100",
    }
    missing = Figure(value=None, unit="g CO2e", source="derived")
    assert co2_eq_emissions(missing, training_type="fine-tuning") is None
    with pytest.raises(ValueError, match="grams"):
        co2_eq_emissions(joules(3.0), training_type="fine-tuning")


def parse(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """A reader of the exposition format of its own: {name: {labels: value}}; every sample needs its HELP and TYPE."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    assert text == "" or text.endswith("\n")
    for line in text.split("\n")[:-1]:
        if line.startswith("# "):
            _, word, name, _ = line.split(" ", 3)
            assert word in ("HELP", "TYPE") and (word == "HELP") == (name not in found)
            found.setdefault(name, {})
            continue
        head, _, value = line.rpartition(" ")
        name, _, rest = head.partition("{")
        found[name][tuple(labels(rest))] = float(value)
    return found


def labels(text: str) -> list[tuple[str, str]]:
    source, pairs = io.StringIO(text), []
    while (key := "".join(iter(lambda: source.read(1).strip("=}"), ""))) != "":
        assert source.read(1) == '"'
        value = ""
        while (char := source.read(1)) != '"':
            value += {"n": "\n"}.get(c := source.read(1), c) if char == "\\" else char
        pairs.append((key, value))
        assert source.read(1) in (",", "}")
    return pairs


def test_prometheus_tells_values_intervals_and_where_they_come_from():
    found = parse(prometheus_text(reading_metrics([estimated(), counted(package_0=30.0, gpu_0=400.0)][:1])))
    labelled = (("scope", "wall"), ("source", "estimated"), ("window", "train"))
    assert found["lightbulb_energy_joules_total"] == {labelled: 3600.0}
    assert found["lightbulb_energy_joules_low"] == {labelled: 1800.0}
    assert found["lightbulb_energy_joules_high"] == {labelled: 7200.0}
    assert list(found["lightbulb_cpu_seconds_total"].values()) == [90.0]
    assert list(found["lightbulb_wall_seconds_total"].values()) == [100.0]
    assert found["lightbulb_sensor_joules_total"] == {}


def test_prometheus_tells_each_sensor_and_nothing_of_one_that_is_gone():
    found = parse(prometheus_text(reading_metrics([counted(package_0=None, gpu_0=50.0)])))
    assert found["lightbulb_energy_joules_total"] == {} and "lightbulb_energy_joules_low" not in found
    (sample,) = found["lightbulb_sensor_joules_total"].items()
    assert dict(sample[0])["sensor"] == "gpu-0" and sample[1] == 50.0


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.floats(allow_nan=False, allow_infinity=False))
def test_prometheus_labels_and_numbers_survive(name, value):
    figure = Figure(value=value, unit="J")
    text = prometheus_text([Metric("a_joules", "Two\nlines, one \\.", "gauge", (({"window": name}, figure),))])
    assert text.startswith("# HELP a_joules Two\\nlines, one \\\\.\n# TYPE a_joules gauge\n")
    assert parse(text) == {"a_joules": {(("source", "measured"), ("window", name)): value}}


def test_prometheus_refuses_two_samples_with_the_same_labels():
    with pytest.raises(ValueError, match="same labels"):
        prometheus_text(reading_metrics([estimated(1.0), estimated(2.0)]))


def get(url: str, accept: str = "*/*") -> tuple[str, str]:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_metrics_are_served_while_the_block_runs():
    state = {"n": 1.0}

    def read() -> list[Metric]:
        if state["n"] > 2:
            raise RuntimeError("no")
        return [Metric("n", "N.", "gauge", (({}, Figure(value=state["n"], unit="1")),))]

    with serve_metrics(read, 0) as port:
        url = f"http://127.0.0.1:{port}"
        kind, text = get(f"{url}/metrics")
        assert kind.startswith("text/plain; version=0.0.4")
        assert text == '# HELP n N.\n# TYPE n gauge\nn{source="measured"} 1.0\n'
        state["n"] = 2.0
        kind, text = get(f"{url}/metrics", "application/openmetrics-text; version=1.0.0")  # as Prometheus asks
        assert kind.startswith("application/openmetrics-text") and " 2.0\n" in text and text.endswith("# EOF\n")
        state["n"] = 3.0
        with pytest.raises(urllib.error.HTTPError, match="500"):
            get(f"{url}/metrics")
        with pytest.raises(UserError, match=f"port {port}"), serve_metrics(read, port):
            pass
    with pytest.raises(urllib.error.URLError):
        get(f"{url}/metrics")


def test_a_port_that_cannot_be_is_refused():
    with pytest.raises(UserError, match="port 70000"), serve_metrics(list, 70000):
        pass


def test_a_file_that_may_not_be_written_is_refused_first(tmp_path, monkeypatch):
    import lightbulb.energy.exports as exports

    monkeypatch.setattr(exports.os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(UserError, match="no file"):
        exports.check_emissions(Path(tmp_path / "emissions.csv"))
