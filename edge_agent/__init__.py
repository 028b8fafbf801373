"""The home: reads its meters, signs what they count, bids for it, and obeys only what its own limits allow.

Flow: `shell/modbus` -> `Agent.on_sample` -> `quality` -> `metering` -> `outbox` -> `replay` -> `shell/broker`, and
back: `shell/broker` -> `Agent.on_message` -> acknowledgement, receipt, proof or set-point -> `control` -> device.
"""
