"""Landing: Kafka and sector batches → Arrow → Delta, exactly once in effect; the ledger that proves it."""
