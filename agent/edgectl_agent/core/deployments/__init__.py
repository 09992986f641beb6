"""Installing: the state machine, its jobs and gates, and what is remembered of each deployment."""
