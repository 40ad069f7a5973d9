"""`python -m engine.cli`: the console script, for processes that start each other."""

from engine.cli.main import main

if __name__ == "__main__":
    main()
