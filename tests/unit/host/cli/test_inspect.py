"""`edgectl inspect` and `init`: checkpoints, without a device."""

from __future__ import annotations

from onnx import TensorProto, helper

from edgectl_testkit.bundles import tiny_graph


def test_init_prints_a_loop_that_convert_takes(cli, graph, tmp_path):
    result = cli("init", graph)
    assert result.out.startswith("loop: v1\n")
    assert cli("init", graph, "-o", tmp_path / "loop.yaml").out == ""
    assert (tmp_path / "loop.yaml").read_text() == result.out
    again = cli("init", graph, "-o", tmp_path / "loop.yaml")
    assert again.code == 2
    assert "exists already" in again.err
    assert cli("init", graph, "--json").document["loop"]["rate_hz"] == 30.0


def test_inspect_shows_the_ways_to_a_board(cli, graph):
    result = cli("inspect", graph, "--board", "raspberry-pi-5")
    assert "ways to raspberry-pi-5" in result.out
    document = cli("inspect", graph, "--json").document
    assert document["source"] == "onnx"
    assert document["toolchain"]["name"] == "host"
    assert document["ways"][0]["routes"][0]["assignment"]["scheme"] == "fp32"
    assert cli("inspect", graph, "--board", "raspberry").code == 17


def test_inspect_shows_every_way_to_several_boards_with_the_reasons(cli, graph):
    result = cli("inspect", graph, "--for", "rpi5,pixel-9")
    assert result.code == 0, result.err
    assert result.out.index("ways to raspberry-pi-5") < result.out.index("ways to pixel-9")
    assert "is built from pt2" in result.out
    assert "does not list it" in " ".join(result.out.split())
    assert max(map(len, result.lines)) <= 100
    first, second = cli("inspect", graph, "--for", "rpi5,pixel-9", "--json").document["ways"]
    assert (first["board"], second["board"]) == ("raspberry-pi-5", "pixel-9")
    refused = {(way["assignment"]["runtime"], way["reason"]) for way in second["rejected"]}
    assert ("openvino", "no kernels there: the board pixel-9 does not list it") in refused


def test_a_size_that_a_graph_leaves_open_is_an_option(cli, tmp_path):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, "size"]) for name in ("x", "y")]
    made = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", values[:1], values[1:])
    graph = tmp_path / "open.onnx"
    graph.write_bytes(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    )
    refused = cli("inspect", graph)
    assert refused.code == 10
    assert "--shape x=1x3x16" in refused.err
    document = cli("inspect", graph, "--shape", "x=1x3x7", "--json").document
    assert document["declared"]["shapes"] == {"x": [1, 3, 7]}
    assert document["policy"]["observations"][0]["shape"] == [3, 7]


def test_a_truncated_graph_is_refused_with_its_reason(cli, tmp_path):
    graph = tmp_path / "tiny.onnx"
    graph.write_bytes(tiny_graph()[:200])
    result = cli("inspect", graph)
    assert result.code == 12
    assert "error[checkpoint_corrupt]" in result.err
