"""Features for server members: licences, giveaways, tickets. Not implemented yet."""
