"""What a model would cost on a device that is not here."""
