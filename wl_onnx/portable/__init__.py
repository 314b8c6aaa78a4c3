"""Weights as standard operators, which any onnxruntime folds into constants."""
