"""The formats that a body can have: each turns bytes into entries in the words of a contract, and none is lost."""
