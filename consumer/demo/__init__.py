"""The demonstration, and the embedded services that it runs on."""
