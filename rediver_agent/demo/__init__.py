"""The main job, end to end: a server, an agent, three real scans of a small vulnerable app."""
