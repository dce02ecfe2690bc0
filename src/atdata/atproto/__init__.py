"""The control plane: lexicons, records, identity, sessions, repositories. Knows nothing of tar files."""
