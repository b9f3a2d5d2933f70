"""The speed tables: attention, plans, and whole generations."""
