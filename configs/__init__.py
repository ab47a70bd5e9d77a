"""YAML configurations, one file a run; the first comment gives command, hardware, time and result."""
