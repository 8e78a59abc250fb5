"""The method in other libraries, each written as its users would write it."""
