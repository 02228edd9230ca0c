"""`python -m postback` is `postback`."""

from postback.cli import main

main()
