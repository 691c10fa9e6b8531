"""The filters of templates that differ from python-liquid's, one module for each kind of value."""
