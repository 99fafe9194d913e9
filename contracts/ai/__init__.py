"""The AI service's contract."""
