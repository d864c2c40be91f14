"""The fabric's Redis and nothing else: key names, records, transitions, scripts, journal, checkpoints, signing."""
