"""What the demo in app.py needs beside the package: live playback, comparing, the movement's edits, words, tables."""
