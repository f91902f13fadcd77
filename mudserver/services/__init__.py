"""Tasks driven by the clock."""
