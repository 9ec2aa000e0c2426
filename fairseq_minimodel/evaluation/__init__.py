"""Benchmarks, predictions and scores."""
