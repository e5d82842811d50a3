"""Taking reports in without losing one: a durable stream, and the consumer that fills the lake."""
