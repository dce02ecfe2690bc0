"""Loading: from an AT-URI to a typed dataset."""
