"""After the run, and before it: whether the draws can be trusted, and why."""
