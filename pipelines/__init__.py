"""The urban data lakehouse of Huế."""
