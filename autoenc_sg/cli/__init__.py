"""Options of the commands, one file a verb."""
