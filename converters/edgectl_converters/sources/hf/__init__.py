"""Causal language models as Hugging Face directories."""
