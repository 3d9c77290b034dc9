package kernels

// forceGeneric runs the plain twin until restore is called.
func forceGeneric() (restore func()) {
	was := fastPath
	fastPath = false
	return func() { fastPath = was }
}
