"""What a trained model can do, beyond its loss."""
