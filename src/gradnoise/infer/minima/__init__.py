"""Numbers of one minimum: its prior, its evidence, its learning coefficient."""
