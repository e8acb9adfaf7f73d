"""`python -m bamboo.benchmarks NAME` (command.py, which the processes of a load, also started from here, leave out)."""

if __name__ == "__main__":
    import sys

    from .command import main

    sys.exit(main())
