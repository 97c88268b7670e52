"""Draws and what is done with them."""
