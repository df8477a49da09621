"""A report: one HTML file with the leaderboards, maps, curves and failures of runs, to be read without a network."""
