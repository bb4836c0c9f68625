"""One file a loop: each is a name, a wait and a hand-over."""
