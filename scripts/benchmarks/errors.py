"""The one error a benchmark run ends with when it cannot measure what it was asked to."""


class BenchError(Exception):
    """The measurement could not be made (a server did not start, a client was turned away, a deadline passed).

    The text is for the person at the terminal. A figure that is merely bad is never an error: it is reported.
    """
