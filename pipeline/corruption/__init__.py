"""Corruption is select x replace x layout: what is taken out, what stands there instead, and who gets what.

Start at corruption.py (samples in, views out); config.py says what a recipe may choose. Only NumPy is needed here.
"""
