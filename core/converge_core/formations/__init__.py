"""Formations: which of the suggestors that could be asked are asked, and on what grounds."""
