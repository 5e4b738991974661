"""``python -m master.cli``."""

from master.cli import main

main()
