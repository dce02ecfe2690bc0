"""What every test may use: the real network (``network``), a local repository (``client``, ``publisher``)."""

pytest_plugins = ["tests.network.plugin", "tests.publishing"]
