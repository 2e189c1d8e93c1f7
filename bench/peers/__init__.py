"""The systems beside us, one file each, run by the python of an environment of their own."""
