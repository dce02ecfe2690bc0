"""Publishing: from samples or shards to a record in the caller's repository."""
