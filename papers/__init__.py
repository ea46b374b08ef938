"""The figures and tables of the papers, one module for each paper; figures.py is their command line."""
