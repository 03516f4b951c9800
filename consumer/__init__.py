"""The worker's side: from the topic to one current row per pattern."""
