-- No statement looks for the connections of an owner without their limit and slot.

DROP INDEX connection_leases_owner;
