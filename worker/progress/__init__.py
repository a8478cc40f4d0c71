"""Progress of runs shown elsewhere: in Redis and in Flower."""
