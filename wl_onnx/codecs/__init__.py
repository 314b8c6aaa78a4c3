"""Weights to blobs and back: one codec a module."""
