"""What a large picture keeps and what it repeats, counted over many prompts."""
