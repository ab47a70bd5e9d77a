"""Every option of a run as checked dataclasses, and their YAML."""
