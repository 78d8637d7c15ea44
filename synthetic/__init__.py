"""Rewriting documents by language models: prompts, generators, verification."""
