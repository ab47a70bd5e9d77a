"""Inputs on which the project failed once.

Other tests of that kind lie beside what they test; docs/results.md, "Inputs that failed once", has
the table of all cases with their tests.
"""
