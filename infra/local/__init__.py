"""The local servers, and the one small interface behind which native processes and containers look alike."""
