"""Clients that others wrote, each in an environment of its own, against our simulators and beside our targets."""
