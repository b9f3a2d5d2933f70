"""The quality tables: variants of the model on held-out clips."""
