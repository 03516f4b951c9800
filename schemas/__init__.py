"""What travels on the topic and what it means. Imports nothing else of this project."""
