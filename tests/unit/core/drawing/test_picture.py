"""A workflow as a picture: whatever people stored is drawn, and nothing in it leaves its text."""

from __future__ import annotations

import json
import math
from itertools import combinations
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import a_graph, a_node, a_search, a_workflow, an_edge, an_llm, as_text, paths
from tests.strategies import examples, json_values, near_workflows
from worker.core.codes import ConversionWarning
from worker.core.drawing import graph, marks, picture
from worker.core.drawing.graph import Graph
from worker.core.drawing.layers import in_layers
from worker.core.drawing.marks import NOTHING, Marks
from worker.core.drawing.place import LARGEST, placed
from worker.core.targets.registry import DEFAULT
from worker.core.workflow import v1
from worker.core.workflow.config import Defaults

SVG = "{http://www.w3.org/2000/svg}"


def read(workflow: Any) -> Graph:
    found = graph.of_value(workflow)
    assert found is not None
    return found


def drawn(workflow: Any, seen: Marks = NOTHING) -> ET.Element:
    """The picture of a workflow, parsed."""
    return ET.fromstring(picture.draw(read(workflow), name="p", title="V1", marks=seen).svg)


def classes(svg: ET.Element, word: str) -> list[str]:
    """The classes of all elements that have a class `word`."""
    found = [element.get("class", "") for element in svg.iter()]
    return [one for one in found if word in one.split()]


def texts(svg: ET.Element) -> list[str]:
    return [element.text or "" for element in svg.iter(f"{SVG}text")]


def laid_out(*ids: str, at: list[tuple[float, float]]) -> dict[str, Any]:
    """Nodes of a type at these positions, without edges."""
    return {
        "nodes": [
            {"id": node_id, "type": "llm", "position": {"x": x, "y": y}}
            for node_id, (x, y) in zip(ids, at, strict=True)
        ]
    }


def a_net() -> st.SearchStrategy[dict[str, Any]]:
    """Nodes without positions, and any edges between them, cycles and loops included."""

    def of(count: int) -> st.SearchStrategy[dict[str, Any]]:
        ends = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
        ports = st.fixed_dictionaries(
            {"inputs": st.lists(st.just({"name": "a"}), max_size=25), "outputs": st.just([])}
        )
        return st.builds(
            lambda edges, each: {
                "nodes": [
                    {"id": number, "type": "llm", "ports": one} for number, one in enumerate(each)
                ],
                "edges": [{"source": one, "target": other} for one, other in edges],
            },
            st.lists(ends, max_size=30),
            st.lists(ports, min_size=count, max_size=count),
        )

    return st.integers(1, 14).flatmap(of)


# -- any workflow ----------------------------------------------------------------------------------


@examples(150)
@given(workflow=near_workflows())
def test_a_workflow_that_v1_may_refuse_is_drawn_node_for_node(workflow: Any) -> None:
    workflow = json.loads(as_text(workflow))
    found = graph.of_value(workflow)
    if found is not None:
        svg = drawn(workflow)
        assert len(classes(svg, "node")) == len(found.boxes)
        assert len(classes(svg, "edge")) == len(found.lines)


@examples(150)
@given(value=json_values(20), node=st.dictionaries(st.sampled_from(graph._TITLES), json_values()))
def test_any_json_is_drawn_or_is_no_workflow(value: Any, node: dict[str, Any]) -> None:
    keys = {"id": value, "type": value, "data": {"type": value, **node}, "position": value}
    ports = {"inputs": [{"name": value, "type": value}, value], "outputs": value}
    mapped = {"variable_mappings": {"a": value, "?": {"variable": value}}}
    workflow = json.loads(as_text({"nodes": [{**keys, "ports": ports, **mapped}, value]}))
    assert graph.of_value(value) is None or isinstance(value, dict)
    assert len(classes(drawn(workflow), "node")) >= 1


@examples(100)
@given(workflow=a_net())
def test_no_two_boxes_of_a_layout_in_columns_overlap(workflow: Any) -> None:
    boxes = in_layers(read(workflow)).boxes
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


@examples(50)
@given(workflow=a_net())
def test_one_workflow_always_gives_the_same_picture(workflow: Any) -> None:
    first, again = (
        picture.draw(read(json.loads(json.dumps(workflow))), name="p", title="t") for _ in range(2)
    )
    assert first == again


# -- hostile texts ---------------------------------------------------------------------------------

HOSTILE = (
    "</text><script>alert(1)</script>",
    '" onload="alert(1)',
    "]]><!-- --><![CDATA[",
    "\u202eevil\u0000\ufffe\x1b[2J",
    "A" * (4 * 1024 * 1024),
)


def test_hostile_texts_stay_texts() -> None:
    for text in HOSTILE:
        node = {
            "id": text,
            "type": text,
            "data": {"title": text, "model": text, text: text},
            "ports": {"inputs": [{"name": text, "type": text}], "outputs": [{"name": text}]},
        }
        seen = Marks({text: "changed"}, {(text, text): "added"}, {text: (text,)})
        svg = drawn({"nodes": [node], "edges": [{"source": text, "target": text}]}, seen)
        tags = {element.tag.removeprefix(SVG) for element in svg.iter()}
        assert tags == {
            *("svg", "title", "desc", "defs", "marker", "path", "g", "rect", "text", "circle"),
        }
        assert not [name for one in svg.iter() for name in one.attrib if name.startswith("on")]
        assert not [one for one in svg.iter() if "style" in one.attrib]


def test_a_text_of_four_mebibytes_takes_no_more_room_than_its_box() -> None:
    node = a_node("n", "llm", {"title": "가" * 4_000_000, "model": "x" * 4_000_000})
    assert len(picture.draw(read({"nodes": [node]}), name="p", title="t").svg) < 4_000


def test_what_turns_the_direction_of_writing_round_is_shown_as_an_escape() -> None:
    svg = drawn({"nodes": [a_node("n", "llm", {"title": "a\u202eb"})]})
    assert "a\\u202eb" in texts(svg)


def test_a_column_that_is_too_long_or_too_deep_is_not_read() -> None:
    assert graph.read('{"nodes": [{"id": "' + "a" * 4 * 1024 * 1024 + '"}]}') is None
    assert graph.read('{"nodes": ' + "[" * 100_000) is None
    assert graph.read("null") is graph.read("{") is graph.read(None) is None


# -- where nodes are -------------------------------------------------------------------------------


def test_nodes_stand_as_in_the_editor() -> None:
    boxes = placed(read(laid_out("a", "b", "c", at=[(100, 300), (400, 200), (400, 500)]))).boxes
    a, b, c = boxes
    assert a.right < b.x == c.x
    assert b.y < a.y < c.y


def test_a_wide_empty_band_is_closed_up() -> None:
    a, b = placed(read(laid_out("a", "b", at=[(0, 0), (50_000, 0)]))).boxes
    assert b.x - a.right == 90


def test_positions_that_hide_nodes_give_way_to_columns() -> None:
    workflow = laid_out("a", "b", at=[(100, 100), (101, 100)])
    workflow["edges"] = [an_edge("a", "b")]
    a, b = placed(read(workflow)).boxes
    assert a.right < b.x


@pytest.mark.parametrize("x", ["0", True, None, 1e6, -1e308, 10**400])
def test_a_node_without_a_position_gives_way_to_columns(x: Any) -> None:
    workflow = laid_out("a", "b", at=[(0, 0), (0, 900)])
    workflow["edges"] = [an_edge("a", "b")]
    workflow["nodes"][1]["position"] = {"x": x, "y": 900}
    a, b = placed(read(workflow)).boxes
    assert a.right < b.x


def test_a_layout_that_is_too_wide_gives_way_to_columns() -> None:
    at = [(number * 300.0, 0.0) for number in range(30)]
    boxes = placed(read(laid_out(*map(str, range(30)), at=at))).boxes
    assert {box.x for box in boxes} == {0}
    assert placed(read(laid_out(*map(str, range(15)), at=at[:15]))).boxes[-1].x < LARGEST


def test_lines_cross_as_seldom_as_the_order_in_a_column_allows() -> None:
    twisted = {
        "nodes": [{"id": one} for one in "abcxyz"],
        "edges": paths("a>z", "b>y", "c>x"),
    }
    boxes = in_layers(read(twisted)).boxes
    tops = {node["id"]: box.y for node, box in zip(twisted["nodes"], boxes, strict=True)}
    assert sorted("abc", key=tops.__getitem__) == ["a", "b", "c"]
    assert sorted("xyz", key=tops.__getitem__) == ["z", "y", "x"]


def test_a_line_over_several_columns_passes_between_the_boxes() -> None:
    workflow = {"nodes": [{"id": one} for one in "abc"], "edges": paths("a>b>c", "a>c")}
    layout = in_layers(read(workflow))
    inside = [
        (box, point)
        for points in layout.bends.values()
        for point in points
        for box in layout.boxes
        if box.x <= point.x <= box.right and box.y <= point.y <= box.bottom
    ]
    assert list(layout.bends) == [2]
    assert inside == []


def test_a_workflow_of_two_thousand_nodes_is_not_drawn() -> None:
    large = {"nodes": [{"id": number} for number in range(2_000)]}
    assert not picture.can_draw(read(large))
    assert picture.can_draw(read({"nodes": large["nodes"][:300]}))


# -- what is shown of V2, and of the conversion ----------------------------------------------------


def test_ports_are_rows_and_lines_end_at_them() -> None:
    svg = drawn(a_graph(a_workflow(a_search(), an_llm())))
    assert {"context*", "documents", "response", "query*"} & set(texts(svg))
    titles = [one.text for one in svg.iter(f"{SVG}title")]
    assert "k.context → llm.context" in titles


def test_more_ports_than_a_person_reads_are_counted() -> None:
    ports = {"inputs": [{"name": f"i{number}"} for number in range(1_000)]}
    svg = drawn({"nodes": [{"id": "a", "ports": ports}]})
    assert "… and 980 more ports" in texts(svg)
    assert "i19" in texts(svg)
    assert "i20" not in texts(svg)


def converted(workflow: dict[str, Any], *warnings: ConversionWarning) -> tuple[Marks, Marks]:
    renamed = DEFAULT.new_ids(v1.decode(as_text(workflow), Defaults()).nodes)
    return marks.of_both(workflow, a_graph(workflow), renamed, warnings)


def test_what_conversion_added_and_changed_is_marked_in_the_draft() -> None:
    workflow = a_workflow(
        a_search("k1"), a_search("k2"), an_llm(), edges=paths("start>k1>k2>llm>end")
    )
    before, after = converted(workflow)
    svg = drawn(a_graph(workflow), after)
    assert "node is-other is-added" not in classes(svg, "node")
    assert "node is-text-join is-added" in classes(svg, "node")
    assert "node is-llm is-changed" in classes(svg, "node")
    assert "edge is-added" in classes(svg, "edge")
    assert {"+", "~"} <= set(texts(svg))
    assert before.nodes == {}


def test_an_edge_that_is_gone_is_marked_in_v1_by_the_ids_that_it_has_there() -> None:
    workflow = {"nodes": [{"id": "a.b"}, {"id": "c"}], "edges": [an_edge("a.b", "c")]}
    graph_without = {"nodes": [{"id": "a_b"}], "edges": []}
    before, _ = marks.of_both(workflow, graph_without, {"a.b": "a_b"})
    assert before.edges == {("a.b", "c"): "removed"}
    assert before.nodes == {"c": "removed"}
    assert classes(drawn(workflow, before), "is-removed") == [
        "edge is-removed",
        "node is-other is-removed",
    ]


def test_a_warning_is_a_badge_at_its_node_and_is_said() -> None:
    workflow = {"nodes": [a_node(7, "llm"), a_node("7", "llm")]}
    warning = ConversionWarning("implicit_context", "7", "…")
    seen = marks.of_both(workflow, workflow, {}, (warning, warning))[0]
    svg = drawn({"nodes": [a_node("7", "llm")]}, seen)
    assert texts(svg).count("!") == 1
    assert "llm: 7, implicit_context" in [one.text for one in svg.iter(f"{SVG}title")]


def test_the_description_says_what_the_picture_shows() -> None:
    workflow = a_workflow(edges=[*paths("start>llm>end"), an_edge("llm", "nowhere")])
    assert picture.description(read(workflow)) == (
        "3 nodes and 2 edges; 1 more edges lead to no node."
    )


def test_a_picture_says_how_wide_it_is_and_how_wide_at_least() -> None:
    def shown(columns: int) -> tuple[float, int, bool]:
        nodes = [a_node(str(n), "llm", {}) for n in range(columns)]
        edges = [an_edge(str(n), str(n + 1)) for n in range(columns - 1)]
        drawn = graph.of_value({"nodes": nodes, "edges": edges})
        assert drawn is not None
        made = picture.draw(drawn, name="v1", title="V1")
        svg = ET.fromstring(made.svg)
        assert svg.attrib["width"] == svg.attrib["viewBox"].split()[2]
        return float(svg.attrib["width"]), made.least_width, made.fits_everywhere

    for columns, is_small in ((1, True), (2, True), (5, False), (12, False)):
        width, least, fits = shown(columns)
        assert least == math.ceil(0.6 * width)
        assert fits is is_small
