"""Oracles: what independent reporters say about prices, weather and the grid, judged as the contracts judge it.

A reporter signs quotes; anybody gathers enough of them and submits. The answer only bounds what may be posted.
"""
