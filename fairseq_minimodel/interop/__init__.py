"""Import from and export to the form of Hugging Face, without running any of its models' code."""
