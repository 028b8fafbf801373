"""Simulated devices over real sockets: the only part of the simulators that touches the world."""
