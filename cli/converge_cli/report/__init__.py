"""How a run is told to people who were not there: as sentences, as a flowchart, as a page."""
