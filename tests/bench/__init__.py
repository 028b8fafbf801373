"""Measured figures: one module per area, each with ``figures() -> Iterator[Figure]``; run by ``./dev bench AREA``."""
