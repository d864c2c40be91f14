"""The terminal app `fabric-tui`."""
