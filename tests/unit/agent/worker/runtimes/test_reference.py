from contracts.runtime import OnnxRuntimeContract


class TestReference(OnnxRuntimeContract):
    runtime_name = "reference"
    library = "onnx"
