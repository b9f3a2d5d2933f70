"""IASA: co-speech video by input-aware sparse attention (arXiv 2510.02617), an open implementation."""

__version__ = "0.2.0"
