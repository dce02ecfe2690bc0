"""What every test may use: the real network, as the fixture ``network``."""

pytest_plugins = ["tests.network.plugin"]
