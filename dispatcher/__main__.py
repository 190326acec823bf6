"""Lets `python -m dispatcher` be the command."""

from dispatcher.cli import main

if __name__ == "__main__":
    main()
