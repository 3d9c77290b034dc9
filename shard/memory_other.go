//go:build !unix

package shard

// memory is on the Go heap where nothing else is known.
type memory struct{ data []byte }

func newMemory(bytes int) (*memory, error) { return &memory{make([]byte, bytes)}, nil }
