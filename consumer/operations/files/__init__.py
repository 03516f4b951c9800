"""Files of measurements: recognised by their content, and read as a stream in bounded memory."""
