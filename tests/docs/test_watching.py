"""The metrics that the operations page lists, and that the example rules ask for, are those that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from corereg.http.metrics import look_up
from corereg.testing.registry import scratch

from .blocks import DOCS, ROOT

pytestmark = pytest.mark.anyio

MONITORING = ROOT / "examples" / "monitoring"
NAME = re.compile(r"\b(?:corereg|process)_[a-z_]+\b")
LOOKED_AT_LAST = "corereg_database_up"


async def families(folder: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Kind and labels by name."""
    async with scratch(folder) as registry:
        found = registry.metrics.numbers(await look_up(registry))
        return {each.name: (each.kind, frozenset(each.labels)) for each in found} | {
            LOOKED_AT_LAST: ("gauge", frozenset())
        }


async def test_the_page_lists_every_metric_with_its_labels(tmp_path: Path) -> None:
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in text.splitlines() if re.match(r"\| `(corereg|process)_", line)]
    told = {
        name: frozenset(filter(None, (label.strip() for label in labels.split(","))))
        for names, labels in rows
        for name in NAME.findall(names)
    }
    assert told == {name: labels for name, (_, labels) in (await families(tmp_path)).items()}


async def test_the_rules_ask_for_what_there_is(tmp_path: Path) -> None:
    there = await families(tmp_path)
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))
    asked = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len(asked) >= 8
    for rule in asked:
        assert rule["annotations"]["summary"], rule["alert"]
        for name, matchers in re.findall(r"(\bcorereg_[a-z_]+)(?:\{([^}]*)\})?", rule["expr"]):
            family = re.sub(r"_(bucket|count|sum)$", "", name) if name not in there else name
            assert family in there, f"{rule['alert']} asks for {name}"
            kind, labels = there[family]
            assert (kind == "histogram") is (family != name), f"{rule['alert']}: {name} is a {kind}"
            wanted = set(re.findall(r"(\w+)[=!]~?=?\"", matchers)) - {"job"}
            assert wanted <= labels, f"{rule['alert']}: {name} has no label {wanted - labels}"


def test_prometheus_finds_the_rules_and_the_path() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert all((MONITORING / name).is_file() for name in config["rule_files"])
