"""Who governs the devices: commands, local droop, breaker, plan; later ones only narrow."""
