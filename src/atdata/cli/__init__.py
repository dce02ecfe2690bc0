"""The ``atdata`` command: one module per command, parse, call one public function, print."""
