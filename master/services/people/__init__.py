"""What the master does for people: their licences, giveaways, tickets."""
