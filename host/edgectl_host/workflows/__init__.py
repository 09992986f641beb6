"""Use cases; collaborators are parameters. No click, no grpc."""
