"""What the model will see of an epoch, decoded and counted."""
