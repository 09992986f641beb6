"""What all tests share."""

pytest_plugins = ["edgectl_testkit.async_tests"]
