"""An example of a plugin for lightbulb."""
