package local

import "io"

// AwaitParentEnd returns when r, this process's standard input, reaches its
// end: the parent is gone, and with it the registry. A child then ends at once.
func AwaitParentEnd(r io.Reader) {
	_, _ = io.Copy(io.Discard, r) // an error says the same as the end
}
