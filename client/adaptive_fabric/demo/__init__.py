"""The demo: 20 learners on 2 local jobs, one of which is killed half-way."""
