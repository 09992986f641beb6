from contracts.runtime import RuntimeContract


class TestReference(RuntimeContract):
    runtime_name = "reference"
    library = "onnx"
