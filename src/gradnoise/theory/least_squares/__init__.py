"""Least squares, where the noise depends on the parameters: exact moments, edges and tails."""
