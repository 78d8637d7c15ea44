"""Mixtures: components with weights over token artifacts, their arithmetic, and the report of a build."""
