"""Scripts that make stored data run by hand; importing one here would change JAX's settings for every test after it."""

collect_ignore_glob = ["make_*.py"]
