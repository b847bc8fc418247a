"""The harness itself: order, arithmetic, failures, the form of a result, the report and its plot."""

from __future__ import annotations

import json
import math
import re
import sys
import time
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from harness import process
from harness.__main__ import results_in
from harness.model import Batch, Curve, Measure, Program, Result, Server, Suite, Traced, Workload, parse_measures
from harness.plot import Row, curve_plot, dot_plot
from harness.process import Failed, can_trace, measure, parse_calls
from harness.report import quantity, write_report
from harness.run import PATIENCE, interleave, names, run_suite
from harness.stats import Line, collect, geometric_mean, linear_fit, ratio
from suites import BENCHES, Settings, load_suites

ECHO = "import json; print(json.dumps({'metric': 'time', 'value': 2.5, 'unit': 'ns'}))"


def python(code: str) -> Batch:
    return Batch((sys.executable, "-c", code))


def is_alive(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


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


def test_a_workload_may_have_fewer_rounds_than_the_run() -> None:
    once = replace(workload("x", "a"), rounds=1)
    assert [(w.name, n) for w, n, _ in interleave([once, workload("y", "a")], 3)] == [
        ("x", 0), ("y", 0), ("y", 1), ("y", 2),
    ]  # fmt: skip


def test_a_ratio_above_one_is_better_whatever_the_unit() -> None:
    assert ratio(10, 20, "ns") == 2
    assert ratio(10, 20, "us") == 2
    assert ratio(20, 10, "1/s") == 2
    assert ratio(None, 10, "ns") is None
    assert ratio(10, 0, "ns") == 0
    assert ratio(0, 10, "ns") == math.inf
    assert ratio(0, 10, "1/s") == 0
    assert ratio(0, 0, "ns") == 1


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
    assert geometric_mean([0.5, 0, math.inf, 2.0]) == pytest.approx(1)
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


def test_a_candidate_that_fails_again_and_again_is_given_up() -> None:
    tries: list[Program] = []

    def fail(program: Program) -> list[Measure]:
        tries.append(program)
        raise Failed("no end within 30 s")

    results = list(run_suite(suite_of(workload("w", "ours")), 5, "", fail))
    assert len(tries) == len(results) == PATIENCE


@pytest.mark.parametrize(
    ("code", "reason"),
    [("pass", "printed no result"), ("import time; time.sleep(60)", "no end within")],
    ids=["silent", "stuck"],
)
def test_a_program_without_results_fails(code: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TIMEOUT", 0.3)
    with pytest.raises(Failed, match=reason):
        measure(python(code), [])


def test_a_program_is_ended_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.1)
    pid_file = tmp_path / "pid"
    child = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    with pytest.raises(Failed, match="no end within"):
        measure(Batch((sys.executable, "-c", parent), timeout=3), [])
    # A killed process is there until the kernel has cleared it away.
    stat = Path(f"/proc/{pid_file.read_text()}/stat")
    deadline = time.monotonic() + 10
    while is_alive(stat):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_program_may_have_a_limit_of_its_own() -> None:
    with pytest.raises(Failed, match="no end within"):
        measure(Batch((sys.executable, "-c", "import time; time.sleep(60)"), timeout=0.5), [])


@pytest.mark.skipif(not can_trace(), reason="strace is not there, or may not trace")
@pytest.mark.parametrize("serves", [False, True], ids=["batch", "server"])
def test_a_traced_program_counts_its_system_calls(serves: bool) -> None:
    count = "import json, os; print(json.dumps({'metric': 'operations', 'value': 100, 'unit': 'ops'}))"
    if serves:
        code = "import os, time; [os.getsid(0) for _ in range(300)]; print('listening 127.0.0.1:77', flush=True); time.sleep(60)"
        traced = Traced(Server((sys.executable, "-c", code), ()), "operations")
    else:
        traced = Traced(Batch((sys.executable, "-c", f"{count}; [os.getsid(0) for _ in range(300)]")), "operations")
    measures = {m.metric: m for m in measure(traced, [sys.executable, "-c", count])}
    assert measures["getsid"] == Measure("getsid", 3, "per op")
    assert measures["syscalls"].value > 3
    assert measures["epoll_ctl"].value == 0


def test_a_traced_program_that_counts_nothing_fails() -> None:
    with pytest.raises(Failed):
        measure(Traced(python(ECHO), "operations"), [])


def test_calls_are_read_from_a_complete_table_only() -> None:
    table = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000010           1        12         2 futex
 40.00    0.000010           1         3           epoll_pwait2
------ ----------- ----------- --------- --------- ----------------
"""
    assert parse_calls(table) == {}
    calls = parse_calls(table + "100.00    0.000020           1        15         2 total\n")
    assert (calls["futex"], calls["epoll_wait"], calls["epoll_ctl"], calls["syscalls"]) == (12, 3, 0, 15)


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
    assert "| won | time | 2.00 | 1.50 (third) | 1 ns | 2 ns | 1.5 ns |" in text
    assert "| lost | time | **0.50** | **0.50** (peer) | 4 ns | 2 ns | - |" in text
    assert "Against peer, by the first metric of each workload: geometric mean 1.00 over 2 workloads" in text
    assert (
        "Against the best peer on each line: geometric mean 0.87 over 2 workloads, ahead on 1, behind on 1: lost."
        in text
    )
    assert "| w | time | - | - | failed | - | - |" in text
    assert "- w, ours: it broke" in text
    assert (tmp_path / "plots" / "toy.svg").exists()


def test_the_plot_is_well_formed_and_has_a_dot_for_each_candidate() -> None:
    rows = [Row("a <b>", {"ours": 2.0, "peer": 1.0}), Row("c", {"ours": 0.25, "peer": 1.0})]
    svg = xml.etree.ElementTree.fromstring(dot_plot("T & t", "ours", "peer", rows))
    circles = svg.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2 + 4  # the legend's and the rows'


def test_a_compact_suite_shows_ratios_of_first_metrics_only(tmp_path: Path) -> None:
    toy = replace(suite_of(replace(workload("w", "ours", "peer"), metrics=("time", "cpu"))), compact=True)
    write_report(
        [toy], collect([result("ours", 4.0, 0), result("peer", 2.0, 0)]), tmp_path / "R.md", tmp_path / "plots"
    )
    text = (tmp_path / "R.md").read_text()
    assert "| workload | metric | against peer | against the best peer |\n" in text
    assert "| w | time | **0.50** | **0.50** (peer) |\n" in text
    assert "cpu" not in text
    assert not (tmp_path / "plots" / "toy.svg").exists()


def report_of_curve(curve: Curve, values: dict[tuple[str, int], float], folder: Path) -> str:
    """The report of a suite that is one curve, with each candidate's value for each size."""
    sizes = [replace(workload(curve.workload(size), "ours", "peer"), metrics=curve.metrics) for size in curve.sizes]
    toy = replace(suite_of(*sizes), curves=(curve,))
    results = [result(c, value, 0, workload=curve.workload(size)) for (c, size), value in values.items()]
    write_report([toy], collect(results), folder / "R.md", folder / "plots")
    return (folder / "R.md").read_text()


def test_curves_show_what_an_item_costs_and_how_it_grew(tmp_path: Path) -> None:
    curve = Curve("many", "An item", "items", ("time", "bytes"), (1, 1000))
    values = {("ours", 1): 10.0, ("ours", 1000): 12.0, ("peer", 1): 10.0, ("peer", 1000): 20.0}
    text = report_of_curve(curve, values, tmp_path)
    assert "| time | 1 | 1,000 | top / bottom |" in text
    assert "| ours | 10 ns | 12 ns | 1.20 |" in text
    assert "| peer | 10 ns | 20 ns | **2.00** |" in text
    assert "| bytes |" not in text  # nobody reported it
    assert (tmp_path / "plots" / "toy-many-time.svg").exists()


def test_a_linear_curve_shows_what_fits_beside_what_was_measured(tmp_path: Path) -> None:
    curve = Curve("work", "A task", "steps", ("time",), (1, 100), linear=True)
    text = report_of_curve(curve, {("ours", 1): 12.0, ("ours", 100): 210.0, ("peer", 1): 5.0}, tmp_path)
    assert "| time | 1 | 100 | each | and for each unit |" in text
    assert "| ours | 12 ns | 210 ns |  |  |\n| fitted | 12 ns | 210 ns | 10 ns | 2 ns |" in text
    assert "| peer | 5 ns | - |  |  |" in text
    assert text.count("fitted") == 1  # one point makes no line


def test_a_fit_is_the_least_wrong_by_ratio() -> None:
    assert linear_fit({1: 12.0, 10: 30.0, 100: 210.0}) == pytest.approx((10.0, 2.0))
    fixed, rate = linear_fit({1: 1.1, 1000: 900.0, 100_000: 110_000.0}) or (0, 0)
    assert 0 < fixed < 1 and rate == pytest.approx(1.0, rel=0.1)
    assert linear_fit({10: 5.0, 100: 100.0}) == pytest.approx((0.0, 0.6))  # nothing costs less than nothing
    assert linear_fit({10: 5.0}) is None
    assert linear_fit({1: 0.0, 10: 5.0}) is None


def test_a_curve_has_a_line_for_each_candidate_and_a_dot_for_each_size() -> None:
    points = {"ours": {1: 2.0, 10: 2.5}, "peer": {1: 4.0, 10: 0.0}}
    svg = xml.etree.ElementTree.fromstring(curve_plot("T & t", "<n>", "ns", "ours", "peer", points))
    assert len(svg.findall("{http://www.w3.org/2000/svg}polyline")) == 2
    assert len(svg.findall("{http://www.w3.org/2000/svg}circle")) == 2 + 3  # nothing has no logarithm


def test_quantities_are_short() -> None:
    assert [quantity(v, "ns") for v in (0.12345, 12.345, 123456.7)] == ["0.123 ns", "12.3 ns", "123,457 ns"]


def test_the_core_suites_and_their_program_know_the_same_workloads() -> None:
    source = (BENCHES / "core" / "src" / "workload" / "mod.rs").read_text()
    known = set(re.findall(r'^ +\("([\w-]+)", ', source, re.MULTILINE))
    suites = [suite for module in load_suites(["core", "growth"], Settings()).values() for suite in module]
    named = set()
    for program in (p for suite in suites for w in suite.workloads for p in w.programs.values()):
        argv = program.program.argv if isinstance(program, Traced) else program.argv
        named.add(argv[argv.index("--workload") + 1])
    assert named == known


def test_every_size_of_a_curve_is_a_workload() -> None:
    (growth,) = load_suites(["growth"], Settings())["growth"]
    workloads = {workload.name for workload in growth.workloads}
    assert workloads == {curve.workload(size) for curve in growth.curves for size in curve.sizes}


def test_results_are_kept_for_a_later_report(tmp_path: Path) -> None:
    kept = [result("ours", 1.5, 0), result("ours", None, 1, error="why")]
    (tmp_path / "toy.jsonl").write_text("".join(f"{r.to_json()}\n" for r in kept))
    assert results_in(tmp_path / "toy.jsonl") == kept
    assert results_in(tmp_path / "none.jsonl") == []
