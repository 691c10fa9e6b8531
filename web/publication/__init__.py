"""The processes that publish what web stores: profiles, and events of visitors for their users."""
