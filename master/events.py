"""What happens in a fleet, as typed events, and the bus that carries them."""
