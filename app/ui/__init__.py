"""Pages: widgets and their handlers, one page a file."""
