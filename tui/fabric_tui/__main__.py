"""`python -m fabric_tui` is `fabric-tui`."""

from .cli import main

if __name__ == "__main__":
    main()
