"""`python -m lineament`: the command line where its script is not on the path."""

from lineament.cli.main import entry_point

if __name__ == "__main__":
    entry_point()
