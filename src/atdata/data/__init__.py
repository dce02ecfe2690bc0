"""What bytes mean: samples, shards, their index, reading and writing. Knows nothing of ATProto."""
