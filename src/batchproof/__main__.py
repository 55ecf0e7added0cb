"""`python -m batchproof` is the command line."""

from batchproof.cli import main

if __name__ == "__main__":
    main()
