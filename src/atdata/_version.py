"""The version, read by the build and by the User-Agent."""

__version__ = "1.0.0.dev0"
