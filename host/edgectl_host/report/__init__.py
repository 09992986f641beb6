"""Runs for people: terminal, Markdown."""
