"""The master node: the one bot and process that supervises the fleet."""

__version__ = "0.1.0"
