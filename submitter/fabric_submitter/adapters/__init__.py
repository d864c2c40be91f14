"""Schedulers: what each must be able to do (scheduler.py), and one module for each that we know."""
