"""Publishing: versions that passed become what people read; pins are moved, recorded and kept alive."""
