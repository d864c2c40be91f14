"""Keeps every pool's number of jobs alive: pool specs, reconcile, control-plane tasks, scheduler adapters."""
