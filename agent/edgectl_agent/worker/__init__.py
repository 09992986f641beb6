"""The child process that loads one runtime and runs one loop. numpy here, never grpc."""
