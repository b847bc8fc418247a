"""What a runtime exports is read by those who wrote the formats: Prometheus's own client, and OpenTelemetry's messages."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parent.parent.parent
CLASS = 'a "quoted" \\ name,\nin two lines = {}'
BUCKETS = 35
COUNTERS = ROOT / "core" / "src" / "executor" / "counters.rs"


def export(kind: str) -> str:
    command = ("cargo", "run", "--locked", "--quiet", "-p", "libruntime-core", "--example", "export_metrics")
    return subprocess.run(
        (*command, "--", kind, CLASS), cwd=ROOT, check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout


@pytest.fixture(scope="module")
def prometheus() -> dict[str, Any]:
    text = export("prometheus")
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "a family stands in one place"
    return {family.name: family for family in families}


@pytest.fixture(scope="module")
def otlp() -> dict[str, Any]:
    request = json_format.Parse(export("otlp"), ExportMetricsServiceRequest(), ignore_unknown_fields=False)
    (resource,) = request.resource_metrics
    assert {a.key: a.value.string_value for a in resource.resource.attributes} == {"service.name": "example"}
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "libruntime"
    assert scope.scope.version
    names = [metric.name for metric in scope.metrics]
    assert len(names) == len(set(names))
    return {metric.name: metric for metric in scope.metrics}


def test_prometheus_families_have_a_type_a_help_and_one_point_for_each_set_of_labels(
    prometheus: dict[str, Any],
) -> None:
    assert len(prometheus) > 30
    for family in prometheus.values():
        assert family.type in {"counter", "gauge", "histogram"}, family.name
        assert family.documentation
        labels = [(sample.name, *sorted(sample.labels.items())) for sample in family.samples]
        assert labels
        assert len(labels) == len(set(labels)), family.name
        for sample in family.samples:
            assert family.type != "counter" or sample.name == f"{family.name}_total"
            assert sample.value >= 0


def test_prometheus_figures_are_those_of_the_run(prometheus: dict[str, Any]) -> None:
    def value(name: str, **labels: str) -> float:
        return sum(s.value for s in prometheus[name].samples if labels.items() <= s.labels.items())

    assert value("libruntime_tasks_spawned") == 100
    assert value("libruntime_workers") == 2
    assert value("libruntime_worker_state") == 2
    assert value("libruntime_worker_transitions", **{"from": "starting", "to": "running"}) in {1, 2}
    assert value("libruntime_blocking_limit", **{"class": CLASS}) == 2
    assert value("libruntime_task_memory_bytes") >= 0
    assert value("libruntime_uptime_seconds") > 0


@pytest.mark.parametrize("name", ["libruntime_poll_time_seconds", "libruntime_schedule_latency_seconds"])
def test_prometheus_histograms_are_cumulative(prometheus: dict[str, Any], name: str) -> None:
    samples = prometheus[name].samples
    buckets = [(float(s.labels["le"]), s.value) for s in samples if s.name == f"{name}_bucket"]
    assert len(buckets) == BUCKETS + 1
    assert buckets == sorted(buckets)
    assert [count for _, count in buckets] == sorted(count for _, count in buckets)
    (count,) = (s.value for s in samples if s.name == f"{name}_count")
    (total,) = (s.value for s in samples if s.name == f"{name}_sum")
    assert buckets[-1] == (float("inf"), count)
    assert count >= 200, "each task was polled twice"
    assert 0 < total < 600


def test_otlp_sums_are_monotonic_and_cumulative_since_the_runtime_began(otlp: dict[str, Any]) -> None:
    kinds = {name: metric.WhichOneof("data") for name, metric in otlp.items()}
    assert set(kinds.values()) == {"sum", "gauge", "histogram"}
    for name, metric in otlp.items():
        assert metric.description
        data = getattr(metric, kinds[name])
        assert data.data_points
        if kinds[name] != "gauge":
            assert data.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
        if kinds[name] == "sum":
            assert data.is_monotonic
        for point in data.data_points:
            assert 0 < point.start_time_unix_nano < point.time_unix_nano
    (spawned,) = otlp["libruntime.tasks.spawned"].sum.data_points
    assert spawned.as_int == 100
    (uptime,) = otlp["libruntime.uptime"].gauge.data_points
    assert uptime.as_double > 0
    limits = otlp["libruntime.blocking.limit"].gauge.data_points
    assert CLASS in {point.attributes[0].value.string_value for point in limits}


@pytest.mark.parametrize("name", ["libruntime.poll_time", "libruntime.schedule_latency"])
def test_otlp_histograms_have_a_count_beyond_the_last_bound(otlp: dict[str, Any], name: str) -> None:
    assert otlp[name].unit == "s"
    (point,) = otlp[name].histogram.data_points
    assert len(point.explicit_bounds) == BUCKETS
    assert len(point.bucket_counts) == BUCKETS + 1
    assert list(point.explicit_bounds) == sorted(set(point.explicit_bounds))
    assert sum(point.bucket_counts) == point.count >= 200
    assert 0 < point.max <= point.sum


def test_otlp_has_64_bits_as_text_and_enumerations_as_numbers() -> None:
    wide = {"asInt", "count", "startTimeUnixNano", "timeUnixNano", "bucketCounts"}
    seen = set()

    def look(value: Any, key: str = "") -> None:
        if key in wide or key == "aggregationTemporality":
            seen.add(key)
        if isinstance(value, dict):
            for name, item in value.items():
                look(item, name)
        elif isinstance(value, list):
            for item in value:
                look(item, key)
        elif key in wide:
            assert isinstance(value, str), key
            assert value.isdecimal(), key
        elif key == "aggregationTemporality":
            assert value == AGGREGATION_TEMPORALITY_CUMULATIVE

    look(json.loads(export("otlp")))
    assert seen == wide | {"aggregationTemporality"}


def test_both_formats_have_the_same_families(prometheus: dict[str, Any], otlp: dict[str, Any]) -> None:
    units = {"s": "_seconds", "By": "_bytes"}
    translated = {
        # Prometheus's client leaves `_total` out of the name of a counter's family.
        metric.name.replace(".", "_") + units.get(metric.unit, ""): metric.WhichOneof("data")
        for metric in otlp.values()
    }
    kinds = {"counter": "sum", "gauge": "gauge", "histogram": "histogram"}
    assert translated == {name: kinds[family.type] for name, family in prometheus.items()}


def test_the_page_lists_every_family(prometheus: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| .*?`(libruntime_\w+)` \| (\w+) \|", page, re.MULTILINE)
    listed = {name.removesuffix("_total"): kind for name, kind in rows}
    assert listed.items() <= {name: family.type for name, family in prometheus.items()}.items()
    # One row stands for the counters that are methods by themselves.
    methods = re.findall(r"^    /// .*\n    \w+ => worker_(\w+);$", COUNTERS.read_text(), re.MULTILINE)
    assert methods
    counters = {f"libruntime_worker_{method.removesuffix('_count')}" for method in methods}
    assert listed.keys() | counters == prometheus.keys()
