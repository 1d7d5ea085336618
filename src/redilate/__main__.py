"""`python -m redilate`: the same as the command `redilate`."""

from redilate.apps.main import main

if __name__ == "__main__":
    main()
