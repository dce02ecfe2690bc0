"""What every test may use: a network (``network``), an IPFS gateway (``ipfs``), a local repository (``client``)."""

from hypothesis import settings

pytest_plugins = ["tests.network.plugin", "tests.ipfs.plugin", "tests.cloud.plugin", "tests.local_client"]

# A deadline measures the machine, not the code; speed is measured in benchmarks/.
settings.register_profile("atdata", deadline=None)
settings.register_profile("atdata-ci", settings.get_profile("ci"), deadline=None)
settings.load_profile("atdata-ci" if settings.get_current_profile_name() == "ci" else "atdata")
