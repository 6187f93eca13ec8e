"""What ways to do less work per token cost and bring."""
