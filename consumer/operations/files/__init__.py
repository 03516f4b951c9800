"""Files of measurements: recognised by their content, read as a stream, in bounded memory."""
