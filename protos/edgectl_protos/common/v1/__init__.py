"""Messages of edgectl.common.v1: .proto files and the code generated from them."""
