"""Lazy click commands: declare options, call one workflow, render one result."""
