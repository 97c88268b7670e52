"""Before the run: where curvature and noise are taken, what a sampler will do, and how long it must run."""
