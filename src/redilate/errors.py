"""What Redilate refuses, it refuses with this."""


class RedilateError(ValueError):
    """Something the user asked for cannot be done; the message names the value and what would work."""
