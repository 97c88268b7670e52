"""Curvature and noise through products with vectors, for many parameters."""
