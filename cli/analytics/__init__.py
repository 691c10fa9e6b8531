"""What analysts ask: named questions over the views of the schema `analytics`, answered as tables and plots."""
