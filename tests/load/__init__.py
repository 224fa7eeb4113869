"""Many readers at once against a real server, and what is left after the server was killed."""
