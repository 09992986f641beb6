"""The version of all five distributions. Their projects read it from here, and so does the agent at run time: from the
metadata it would cost 2 MB of memory in an idle daemon.
"""

__all__ = ["VERSION"]

VERSION = "0.1.0"
