"""Tokenizers from documents: split patterns, counting, exact BPE, export, and the makers that train and tokenize."""
