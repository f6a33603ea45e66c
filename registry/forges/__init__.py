"""Where proposals live: one small protocol, and a module for each kind of forge."""
