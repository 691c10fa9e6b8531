"""From calls of SDKs to events and profile patches. Pure, except for `service`."""
