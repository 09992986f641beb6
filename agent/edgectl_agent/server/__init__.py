"""The gRPC face of the agent: one servicer a service, each decode, call, encode."""
