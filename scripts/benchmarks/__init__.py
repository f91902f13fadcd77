"""The benchmark tool behind `scripts/bench`: proves or refutes every speed claim of this project."""
