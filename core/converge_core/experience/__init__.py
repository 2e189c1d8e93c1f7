"""Experience: what the ledgers of all runs tell, entry by entry, asked for by kind, run, tenant and time."""
