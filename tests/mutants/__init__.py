"""Mutation tests of the pure modules: `make mutants`.

table.py           the modules that are mutated, and the tests that must notice
mutations.py       makes the mutants of a module
trial.py           runs the tests on a mutant in a forked process
equivalent.toml    mutants that change no observable behaviour, each with the reason
"""
