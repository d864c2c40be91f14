"""What runs inside a scheduler job: the agent, its slots and their executors."""
