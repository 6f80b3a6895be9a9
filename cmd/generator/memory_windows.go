package main

// hideMemory does nothing: there are no core dumps unless somebody asks for them.
func hideMemory() error { return nil }
