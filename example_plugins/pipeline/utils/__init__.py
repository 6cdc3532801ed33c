"""Small tools of the pipeline."""
