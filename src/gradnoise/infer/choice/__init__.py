"""Which sampler: all plans against an error budget and a time."""
