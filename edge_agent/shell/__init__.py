"""Everything of the agent that touches the world: clock, sockets, files, keys."""
