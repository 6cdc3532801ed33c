"""Small tools of the counter; other plugins have `utils` of their own."""
