"""Meters that speak something other than Modbus. Planned; see README.md in this folder."""
