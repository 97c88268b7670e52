"""How long it takes to leave a minimum."""
