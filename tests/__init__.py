"""Tests of the project: one folder per room, and the house rules beside this file."""
