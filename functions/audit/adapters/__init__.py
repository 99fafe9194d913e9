"""The AI service's ports on AWS."""
