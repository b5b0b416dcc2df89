"""Every task and every channel: ``run`` is the whole tree on one screen, the other files are its parts."""
