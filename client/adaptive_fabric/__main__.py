"""``python -m adaptive_fabric`` is the ``fabric`` command."""

from adaptive_fabric.cli import main

if __name__ == "__main__":
    main()
