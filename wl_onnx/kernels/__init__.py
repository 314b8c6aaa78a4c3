"""The compiled core and the NumPy reference that specifies it."""
