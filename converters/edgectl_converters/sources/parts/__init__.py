"""An ONNX policy in several files, described by a policy file."""
