"""`python -m localchat` is the `localchat` command."""

from localchat.cli.app import main

if __name__ == "__main__":
    main()
