"""``python -m converge_cli``."""

from converge_cli.main import main

main(prog_name="converge")
