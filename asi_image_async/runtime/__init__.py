"""The doors to the outside: the network, the clock, the tasks, the database. None knows another."""
