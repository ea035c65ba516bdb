"""Gateway: the one door of live data. Seals an envelope, normalises, tokenises personal values, publishes to Kafka."""
