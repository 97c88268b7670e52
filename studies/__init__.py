"""Studies: larger experiments as committed commands, `python -m studies.<name>`; each writes studies/records/<name>.json."""
