"""The rules for Prometheus and the dashboard for Grafana name nothing that a run does not tell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import promql_parser as promql
import pytest
import trio
import yaml
from attrs import frozen
from prometheus_client.parser import text_string_to_metric_families
from test_serve import NAMES, leaving, of_each, soon, watched

from trioagg.simulator.server import serve

DEPLOY = Path(__file__).parent.parent / "deploy"
SCRAPED = frozenset({"job", "instance"})
"""Labels that Prometheus puts to everything."""
UNITS = {"_seconds": "s", "_ratio": "percentunit", "_fill": "percentunit", "_peak": "percentunit"}
"""How a gauge's name ends → Grafana's unit; others count."""
GROWING = {"rate": "cps", "increase": "none"}
"""Functions that need a counter → the unit of what they say."""
ALERT = {"severity", "summary", "description"}


@frozen
class Metric:
    """What a run serves under one name."""

    kind: str
    labels: frozenset[str]


@cache
def served() -> Mapping[str, Metric]:
    """Every name that a run of two exchanges serves at ``/metrics``, and what Prometheus adds."""
    found = {"up": Metric("gauge", SCRAPED), "ALERTS": Metric("gauge", SCRAPED | {"alertname", "alertstate"})}
    for family in text_string_to_metric_families(trio.run(scraped)):
        for sample in family.samples:
            known = found.get(sample.name, Metric("", SCRAPED)).labels
            kind = "counter" if family.type == "histogram" else family.type
            found[sample.name] = Metric(kind, known | sample.labels.keys())
    return found


async def scraped() -> str:
    """The page, once it has something of everything."""
    play = partial(serve, exchanges=("binance", "kraken"), symbols=("BTC/USDT",))
    with TemporaryDirectory() as folder:
        async with trio.open_nursery() as nursery:
            leave, started = await nursery.start(leaving, play)
            async with watched(of_each(started, Path(folder) / "a.db"), []) as client:
                page: str = await soon(partial(whole, client))
            leave.cancel()
    return page


async def whole(client: httpx.AsyncClient) -> str:
    """The page, if no name is missing."""
    page = (await client.get("/metrics")).text
    there = {sample.name for family in text_string_to_metric_families(page) for sample in family.samples}
    return page if there >= NAMES else ""


def rules() -> list[dict[str, Any]]:
    """The alerts."""
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    told: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "trioagg.json").read_text(encoding="utf-8"))
    return told


def targets() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every query, with its panel."""
    return [(panel, target) for panel in dashboard()["panels"] for target in panel["targets"]]


def parsed(text: str) -> promql.Expr:
    """A query, with something in the place of Grafana's variables."""
    return promql.parse(text.replace("$__rate_interval", "5m"))


def nodes(expr: promql.Expr) -> list[promql.Expr]:
    """All parts of an expression."""
    found: list[promql.Expr] = []
    promql.walk(expr, found.append)
    return found


def selector(node: promql.Expr) -> promql.VectorSelector | None:
    """What a part selects, if it selects."""
    if isinstance(node, promql.MatrixSelector):
        return node.vector_selector
    return node if isinstance(node, promql.VectorSelector) else None


def selectors(expr: promql.Expr) -> list[promql.VectorSelector]:
    """What an expression selects."""
    return [found for node in nodes(expr) if (found := selector(node))]


def problems(text: str) -> list[str]:
    """What a query names that is not there, or uses as what it is not."""
    expr, found = parsed(text), list[str]()
    unknown = [str(one.name) for one in selectors(expr) if one.name not in served()]
    if unknown:
        return [f"no metric {name}" for name in unknown]
    for node in nodes(expr):
        named = {*_named(node)} - {label for one in selectors(node) for label in served()[str(one.name)].labels}
        found += [f"no label {label}" for label in sorted(named)]
        if isinstance(node, promql.Call) and node.func.name in GROWING:
            kinds = {served()[str(one.name)].kind for one in selectors(node)}
            found += [] if kinds == {"counter"} else [f"{node.func.name} of what does not only grow"]
    return found


def _named(node: promql.Expr) -> Iterator[str]:
    if one := selector(node):
        yield from (matcher.name for matcher in one.matchers.matchers)
    if isinstance(node, promql.AggregateExpr) and node.modifier:
        yield from node.modifier.labels
    if isinstance(node, promql.BinaryExpr) and node.modifier and node.modifier.matching:
        yield from node.modifier.matching.labels


def left(expr: promql.Expr) -> frozenset[str]:
    """The labels that the result of an expression has."""
    if isinstance(expr, promql.AggregateExpr):
        return frozenset(expr.modifier.labels if expr.modifier else ())
    if isinstance(expr, promql.BinaryExpr):
        return left(expr.lhs)
    if isinstance(expr, promql.Call):
        return left(expr.args[-1]) - ({"le"} if expr.func.name == "histogram_quantile" else set())
    if one := selector(expr):
        return served()[str(one.name)].labels
    assert isinstance(expr, promql.ParenExpr | promql.UnaryExpr), expr
    return left(expr.expr)


def unit(expr: promql.Expr) -> str:
    """The unit that the result of an expression has."""
    calls = [node.func.name for node in nodes(expr) if isinstance(node, promql.Call)]
    growing = [name for name in calls if name in GROWING]
    if growing and "histogram_quantile" not in calls:
        return GROWING[growing[0]]
    name = str(selectors(expr)[0].name).removesuffix("_bucket")
    return next((told for end, told in UNITS.items() if name.endswith(end)), "none")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_is_about_what_a_run_tells(rule: dict[str, Any]) -> None:
    """By metrics, labels and kinds that are there; with severity, summary and description, whose labels it has."""
    assert problems(rule["expr"]) == []
    told = {**rule["labels"], **rule["annotations"]}
    assert told.keys() == ALERT and all(told.values()) and told["severity"] in {"warning", "critical"}
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(told.values())))
    assert used <= left(parsed(rule["expr"]))


def test_every_alert_is_tried_and_documented() -> None:
    """Their names differ; ``promtool test rules`` raises each, and the page lists each with its severity."""
    told = {rule["alert"]: rule["labels"]["severity"] for rule in rules()}
    tried = (DEPLOY / "prometheus" / "rules.test.yml").read_text(encoding="utf-8")
    page = (DEPLOY.parent / "docs" / "deploying.md").read_text(encoding="utf-8")

    assert len(told) == len(rules()) and [name for name in told if name not in tried] == []
    assert dict(re.findall(r"^\| `(Trioagg\w+)` \| (\w+) \|", page, flags=re.MULTILINE)) == told


@pytest.mark.parametrize(("panel", "target"), targets(), ids=lambda told: told.get("title", told.get("refId")))
def test_a_panel_shows_what_a_run_tells(panel: dict[str, Any], target: dict[str, Any]) -> None:
    """By metrics and labels that are there, in their unit, of the source that the user chose."""
    expr = parsed(target["expr"])

    assert problems(target["expr"]) == []
    assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= left(expr)
    seen = "s" if panel["type"] == "heatmap" else unit(expr)
    assert panel["fieldConfig"]["defaults"]["unit"] == seen
    assert panel["title"] and panel["description"]
    assert panel["datasource"] == target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_the_dashboard_is_one_grid_with_its_variables() -> None:
    """Every panel has a number and a place of its own; every variable that is used asks for what is told."""
    told = dashboard()
    variables = {one["name"]: one for one in told["templating"]["list"]}
    cells = [cell for panel in told["panels"] for cell in _cells(**panel["gridPos"])]

    assert len({panel["id"] for panel in told["panels"]}) == len(told["panels"])
    assert len(set(cells)) == len(cells) and all(0 <= x < 24 for x, _ in cells)
    assert set(re.findall(r"\$\{?([a-z]\w+)", json.dumps(told["panels"]))) <= variables.keys()
    assert variables["datasource"]["type"] == "datasource"
    for one in variables.values():
        asked = re.fullmatch(r"label_values\((.*), (\w+)\)", one.get("definition", "label_values(up, job)"))
        assert asked and problems(asked[1]) == [] and asked[2] in left(parsed(asked[1]))


def _cells(*, x: int, y: int, w: int, h: int) -> Sequence[tuple[int, int]]:
    return [(column, row) for column in range(x, x + w) for row in range(y, y + h)]


def test_grafana_finds_its_source_and_its_dashboard() -> None:
    """The provisioned source is Prometheus, and the folder is where the compose file puts the dashboard."""
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "trioagg.yml").read_text("utf-8"))["providers"]
    services = yaml.safe_load((DEPLOY / "compose.full.yaml").read_text("utf-8"))["services"]

    assert source["type"] == "prometheus" and source["url"].split("/")[-1].split(":")[0] in services
    mounts = dict(mount.split(":")[:2] for mount in services["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("trioagg_gap_open > 0", ["no metric trioagg_gap_open"]),
        ('trioagg_gaps_open{channel="trades"} > 0', ["no label channel"]),
        ("sum by (symbol) (trioagg_gaps_open)", ["no label symbol"]),
        ("up unless on (exchange) up", ["no label exchange"]),
        ("rate(trioagg_lag_seconds[5m])", ["rate of what does not only grow"]),
    ],
)
def test_a_wrong_query_is_found(query: str, told: list[str]) -> None:
    """A name, a label in any place, a kind."""
    assert problems(query) == told
