"""The harness itself: order, arithmetic, failures, the form of a result, the report and its plot."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from harness import process
from harness.model import Batch, Measure, Program, Result, Server, Suite, Workload, parse_measures
from harness.plot import Row, dot_plot
from harness.process import Failed, measure
from harness.report import quantity, write_report
from harness.run import interleave, names, run_suite
from harness.stats import Line, collect, geometric_mean, ratio

ECHO = "import json; print(json.dumps({'metric': 'time', 'value': 2.5, 'unit': 'ns'}))"


def python(code: str) -> Batch:
    return Batch((sys.executable, "-c", code))


def suite_of(*workloads: Workload) -> Suite:
    return Suite("toy", "Toy", "ours", "peer", {"ours": "1", "peer": "2", "third": "3"}, workloads)


def workload(name: str, *candidates: str) -> Workload:
    return Workload(name, "does nothing", ("time",), {c: python(ECHO) for c in candidates})


def result(candidate: str, value: float | None, number: int, **fields: str) -> Result:
    made = Result("toy", "w", candidate, "1", "time", value, "ns", number, "box", "2026-01-01T00:00:00Z")
    return replace(made, **fields)  # type: ignore[arg-type]


def test_candidates_take_turns() -> None:
    order = [(w.name, n, c) for w, n, c in interleave([workload("x", "a", "b"), workload("y", "a")], 2)]
    assert order == [("x", 0, "a"), ("x", 0, "b"), ("x", 1, "a"), ("x", 1, "b"), ("y", 0, "a"), ("y", 1, "a")]


def test_a_ratio_above_one_is_better_whatever_the_unit() -> None:
    assert ratio(10, 20, "ns") == 2
    assert ratio(10, 20, "us") == 2
    assert ratio(20, 10, "1/s") == 2
    assert ratio(None, 10, "ns") is None
    assert ratio(10, 0, "ns") is None


def test_medians_ratios_and_their_range() -> None:
    line = Line("ns", {"ours": {0: 10, 1: 30, 2: 20}, "peer": {0: 20, 1: 30, 2: 80}})
    assert line.median("ours") == 20
    assert line.median("nobody") is None
    assert line.ratio("ours", "peer") == 1.5
    assert line.ratio_range("ours", "peer") == (1, 4)


def test_the_best_peer_is_never_ours_and_follows_the_unit() -> None:
    rounds = {"ours": {0: 1.0}, "a": {0: 5.0}, "b": {0: 7.0}}
    assert Line("ns", rounds).best_peer({"ours"}) == "a"
    assert Line("1/s", rounds).best_peer({"ours"}) == "b"
    assert Line("ns", rounds).best_peer({"ours", "a"}) == "b"
    assert Line("ns", {"ours": {0: 1.0}}).best_peer({"ours"}) is None


def test_geometric_mean() -> None:
    assert geometric_mean([0.5, 2.0, 1.0]) == pytest.approx(1)
    assert geometric_mean([]) is None


def test_a_failing_candidate_is_reported_not_dropped() -> None:
    programs: dict[str, Program] = {
        "ours": python("import sys; sys.exit('it broke')"),
        "peer": python(ECHO),
        "third": Batch(("/nowhere/at/all",)),
    }
    toy = suite_of(Workload("w", "", ("time",), programs))
    results = list(run_suite(toy, 2, "", lambda program: measure(program, [])))
    assert [r.candidate for r in results] == ["ours", "peer", "third"] * 2
    assert results[0].value is None and results[0].error == "exit status 1: it broke"
    assert results[1].value == 2.5
    assert "cannot be started" in results[2].error


@pytest.mark.parametrize(
    ("code", "reason"),
    [("pass", "printed no result"), ("import time; time.sleep(60)", "no end within")],
    ids=["silent", "stuck"],
)
def test_a_program_without_results_fails(code: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TIMEOUT", 0.3)
    with pytest.raises(Failed, match=reason):
        measure(python(code), [])


def test_a_server_is_driven_by_the_load_generator_and_ended(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    serve = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); print('listening 127.0.0.1:77', flush=True); time.sleep(60)"
    generator = "import json, sys; print(json.dumps({'metric': sys.argv[3], 'value': int(sys.argv[2]), 'unit': '1/s'}))"
    server = Server((sys.executable, "-c", serve), ("--size", "64"))
    # The generator's arguments are: --port 77 --pid PID --size 64.
    measures = measure(server, [sys.executable, "-c", generator])
    assert measures == [Measure("--pid", 77, "1/s")]
    assert not Path(f"/proc/{pid_file.read_text()}").exists()


def test_a_server_that_does_not_listen_fails_with_its_last_words() -> None:
    server = Server((sys.executable, "-c", "import sys; sys.exit('port taken')"), ())
    with pytest.raises(Failed, match="port taken"):
        measure(server, [sys.executable, "-c", ECHO])


def test_output_that_is_no_result_is_passed_over() -> None:
    assert parse_measures('hello\n{"metric": "m", "value": 1, "unit": "ns"}\n') == [Measure("m", 1.0, "ns")]


def test_a_result_is_one_line_with_every_field() -> None:
    line = result("ours", 1.5, 3).to_json()
    fields = json.loads(line)
    assert list(fields) == [
        "suite", "workload", "candidate", "version", "metric", "value", "unit", "round", "machine", "date",
    ]  # fmt: skip
    assert "\n" not in line
    assert Result.from_json(line) == result("ours", 1.5, 3)
    failed = result("ours", None, 0, error="why")
    assert Result.from_json(failed.to_json()) == failed


def test_a_filter_chooses_by_part_of_the_name() -> None:
    toy = suite_of(workload("echo-1", "ours"), workload("spawn", "ours"))
    assert names([toy], "") == ["toy/echo-1", "toy/spawn"]
    assert names([toy], "toy/ec") == ["toy/echo-1"]
    assert {r.workload for r in run_suite(toy, 1, "spawn", lambda _: [Measure("time", 1, "ns")])} == {"spawn"}


def test_the_report_prints_ratios_first_losses_like_wins_and_failures(tmp_path: Path) -> None:
    toy = suite_of(
        workload("won", "ours", "peer", "third"), workload("lost", "ours", "peer"), workload("w", "ours", "peer")
    )
    values = {
        ("won", "ours"): 1.0,
        ("won", "peer"): 2.0,
        ("won", "third"): 1.5,
        ("lost", "ours"): 4.0,
        ("lost", "peer"): 2.0,
    }
    results = [result(c, value, 0, workload=w) for (w, c), value in values.items()]
    results.append(result("ours", None, 0, error="it broke"))
    write_report([toy], collect(results), tmp_path / "RESULTS.md", tmp_path / "plots")
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| workload | metric | against peer | against the best peer | ours | peer | third |" in text
    assert "| won | time | 2.00 (2.00 to 2.00) | 1.50 (third) | 1 ns | 2 ns | 1.5 ns |" in text
    assert "| lost | time | **0.50** (0.50 to 0.50) | **0.50** (peer) | 4 ns | 2 ns | - |" in text
    assert "geometric mean 1.00 over 2 workloads, ahead on 1, behind on 1: lost." in text
    assert "| w | time | - | - | failed | - | - |" in text
    assert "- w, ours: it broke" in text
    assert (tmp_path / "plots" / "toy.svg").exists()


def test_the_plot_is_well_formed_and_has_a_dot_for_each_candidate() -> None:
    rows = [Row("a <b>", {"ours": 2.0, "peer": 1.0}), Row("c", {"ours": 0.25, "peer": 1.0})]
    svg = xml.etree.ElementTree.fromstring(dot_plot("T & t", "ours", "peer", rows))
    circles = svg.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2 + 4  # the legend's and the rows'


def test_quantities_are_short() -> None:
    assert [quantity(v, "ns") for v in (0.12345, 12.345, 123456.7)] == ["0.123 ns", "12.3 ns", "123,457 ns"]
