"""One file a command type: what an agent does when it is told to."""
