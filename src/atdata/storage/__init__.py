"""Where bytes are: the stores, and the value in a record that names them."""
