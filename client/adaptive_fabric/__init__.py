"""Run `adaptive` learners through a fabric: what users import and type."""
