"""The events on the topic and their meaning. Imports nothing else of this project."""
