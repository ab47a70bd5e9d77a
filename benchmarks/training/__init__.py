"""Runs that are killed, rates of the joint phase, and what the tests notice."""
