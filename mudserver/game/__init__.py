"""The pure rules of the game: plain values, synchronous functions, no clock, no chance, no I/O but the area files."""
