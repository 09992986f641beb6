"""The control loop: scheduler, stages, queue, recorder."""
