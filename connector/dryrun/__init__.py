"""Routes tried and tested without a service: what a record would become."""
