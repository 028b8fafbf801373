"""From samples to readings: guards, intervals, chains."""
