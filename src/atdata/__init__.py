"""atdata: publish WebDataset datasets on ATProto and read them back, typed, verified and fast."""

from atdata._version import __version__

__all__ = ["__version__"]
