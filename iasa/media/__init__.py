"""Media files: guarded reading of uploads, whole-or-nothing writing, and the marks of generated video."""
