"""Bytes on the disk: written atomically, named by content, laid out as releases."""
