"""The demo behind app.py, the one part that needs gradio: its tabs, what they call, and its words in two languages."""
