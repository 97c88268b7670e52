"""Prior scales and noise levels, learnt from the data."""
