"""One file for each command of `redilate`; cli.py puts them together."""
