"""Stationary laws of stochastic gradient descent and its relatives on a quadratic loss."""
