"""What the master does for people: licences, giveaways, tickets. Empty until they are built."""
