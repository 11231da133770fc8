"""Carries Kafka records to event services; commits an offset only after each event made from it is acknowledged."""

__version__ = "0.1.0"
