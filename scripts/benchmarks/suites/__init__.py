"""One module for each suite; each has `add_arguments(parser)` and `run(bench, arguments)`."""
