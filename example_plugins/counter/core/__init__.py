"""What counts; other plugins have a `core` of their own."""
