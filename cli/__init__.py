"""The command line: reads arguments, calls one function of a lower room, prints its answer."""
