"""How to read a meter, as plain text files: one TOML per device, one codec, one read planner.

Flow: `load_profile` -> (`sunspec.walk` + `sunspec.resolve` for SunSpec devices) -> `read_plan.plan` ->
registers from the wire into a `RegisterImage` -> `codec.decode`; and back through `codec.encode_write`.
"""
