"""Tables that tell every change: Debezium reads their database's log on Kafka Connect, a load reads its topics.

One connector for each source; what it is called and how it is set up follows from the contracts.
"""
