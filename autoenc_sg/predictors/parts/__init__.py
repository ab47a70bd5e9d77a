"""Parts that relation heads share."""
