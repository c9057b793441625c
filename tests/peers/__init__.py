"""Other projects' programs beside ours: servers that we ask, and clients that ask us."""
