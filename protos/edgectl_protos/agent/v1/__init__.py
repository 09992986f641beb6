"""Services of edgectl.agent.v1: .proto files and the code generated from them."""
