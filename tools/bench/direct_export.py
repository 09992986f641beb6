"""LeRobot and torch called directly, in the lerobot toolchain: `PYTHON direct_export.py CHECKPOINT OUT.onnx`.

What an engineer writes to export an ACT: load the policy, call torch.onnx.export on its net. No golden data.
"""

from __future__ import annotations

import sys

import torch


def main() -> None:
    """Export the net with named inputs."""
    from edgectl_converters.toolchain_shim import declare_torchvision_operators

    declare_torchvision_operators()
    from lerobot.policies.act.modeling_act import ACTPolicy

    checkpoint, out = sys.argv[1:]
    policy = ACTPolicy.from_pretrained(checkpoint).eval()

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = policy.model

        def forward(self, top, wrist, state):
            return self.net({"observation.state": state, "observation.images": [top, wrist]})[0]

    shape = policy.config.input_features["observation.images.top"].shape
    state = policy.config.input_features["observation.state"].shape
    example = (torch.rand(1, *shape), torch.rand(1, *shape), torch.rand(1, *state))
    names = ["top", "wrist", "state"]
    torch.onnx.export(
        Net().eval(),
        example,
        dynamo=True,
        input_names=names,
        output_names=["action"],
        opset_version=20,
        external_data=False,
        verbose=False,
    ).save(out)


if __name__ == "__main__":
    main()
