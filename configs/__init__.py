"""YAML configurations, one a run; the first comment gives command, hardware, time and result."""
