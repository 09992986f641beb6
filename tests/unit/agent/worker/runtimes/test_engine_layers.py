"""Lines in the grammar of the inspector. Those in `recorded/` were logged by the builder of tensorrt_rtx 1.7.1 for SM
8.6; the others are written by hand in the grammar that 10.x has for convolutions, since no such GPU was at hand.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from edgectl_agent.worker.runtimes.engine_layers import check_precision, heavy_precisions, parse_layers
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import PrecisionError
from edgectl_protos.domain.parity import Tolerance

RECORDED = Path(__file__).parent / "recorded"

CASK = (
    "Name: /backbone/conv1/Conv + /backbone/relu/Relu, LayerType: CaskConvolution, Inputs: [ { Name: x, Location: "
    "Device, Dimensions: [1,3,480,640], Format/Datatype: %s }], Outputs: [ { Name: r, Location: Device, Dimensions: "
    "[1,64,240,320], Format/Datatype: %s }], ParameterType: Convolution, Kernel: [7,7], PaddingMode: "
    'kEXPLICIT_ROUND_DOWN, PrePadding: [3,3], Stride: [2,2], OutMaps: 64, Groups: 1, Weights: {"Type": "%s", "Count": '
    '9408}, Bias: {"Type": "Float", "Count": 64}, HasBias: 1, Activation: RELU, TacticName: %s, TacticValue: '
    "0x5aa723e0481da855, StreamId: 0, Metadata: [ONNX Layer: /backbone/conv1/Conv][ONNX Layer: /backbone/relu/Relu]"
)
FP16_FORMAT = "Channel major FP16 format where channel % 8 == 0"
INT8_FORMAT = "Thirty-two wide channel vectorized row major Int8 format"
FP32_FORMAT = "Row major linear FP32"


def cask(kind: str, weights: str, tactic: str = "sm80_xmma_fprop_implicit_gemm_nhwc_tilesize64x64x64") -> str:
    return CASK % (kind, kind, weights, tactic)


def component(scheme: str) -> Component:
    return Component("vision", "stub", scheme, "model.onnx", (), (), Tolerance(1.0, 1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("attention-fp32.txt", {"fp32": 6}),
        ("attention-fp16.txt", {"fp16": 6}),
        ("attention-bf16.txt", {"bf16": 6}),
        ("convolution-int8.txt", {"int8": 2}),
    ],
)
def test_every_product_of_a_recorded_engine_is_found_in_its_precision(name, expected):
    layers = parse_layers((RECORDED / name).read_text())
    scheme = next(iter(expected))
    assert check_precision(layers, component(scheme)) == expected
    for other in {"fp32", "fp16", "bf16", "int8"} - {scheme}:
        with pytest.raises(PrecisionError, match=f"{other} was asked for"):
            check_precision(layers, component(other))


def test_a_layer_says_what_it_is():
    first = parse_layers((RECORDED / "attention-fp16.txt").read_text())
    found = next(layer for layer in first if layer.name == "MatMul_5_myl0_7")
    assert (found.kind, found.inputs, found.nodes) == ("gemm", ("fp16", "fp16"), ("MatMul_5",))
    # Its constants are alpha and beta, scalars in fp32 whatever the product computes in.
    assert found.weights == ()


@pytest.mark.parametrize(
    ("line", "precision"),
    [
        (cask(FP16_FORMAT, "Half"), "fp16"),
        (cask(INT8_FORMAT, "Int8"), "int8"),
        (cask(FP32_FORMAT, "Float"), "fp32"),
        (cask(FP32_FORMAT, "Float", "sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwc"), "tf32"),
    ],
)
def test_older_versions_are_read_too(line, precision):
    assert set(heavy_precisions(parse_layers(line)).values()) == {precision}


def test_a_flag_that_built_fp32_is_found():
    text = "\n".join([cask(FP16_FORMAT, "Half"), cask(FP32_FORMAT, "Float").replace("conv1", "conv2")])
    with pytest.raises(PrecisionError, match=r"fp16 was asked for \(fp16\).* 1 in fp16, 1 in fp32.*conv2/Conv"):
        check_precision(parse_layers(text), component("fp16"))


def test_tf32_is_not_fp32():
    tactic = "ampere_sgemm_tf32_128x64"
    with pytest.raises(PrecisionError, match="fp32 was asked for .* 1 in tf32"):
        check_precision(parse_layers(cask(FP32_FORMAT, "Float", tactic)), component("fp32"))


def test_integer_components_may_leave_products_of_activations_but_not_everything():
    both = "\n".join([cask(INT8_FORMAT, "Int8"), cask(FP32_FORMAT, "Float").replace("conv1", "conv2")])
    assert check_precision(parse_layers(both), component("int8")) == {"int8": 1, "fp32": 1}
    with pytest.raises(PrecisionError, match="int8 was asked for"):
        check_precision(parse_layers(cask(FP32_FORMAT, "Float")), component("int8"))


@pytest.mark.parametrize("text", ["", "Name: only a name", "Name: a, LayerType: gemm, Inputs: [ { Name: x }]"])
def test_an_engine_that_does_not_say_is_refused(text):
    with pytest.raises(PrecisionError, match="does not say in which precision"):
        check_precision(parse_layers(text), component("fp16"))


@pytest.mark.parametrize(
    "text", ["Name: , LayerType: ", "Name: x, LayerType: gemm, Inputs: [ {{{", "\0" * 50, "[" * 9999]
)
def test_damaged_lines_are_no_defect(text):
    parse_layers(text)
