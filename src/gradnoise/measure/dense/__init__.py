"""Curvature and noise as matrices, at a point or averaged over a law."""
