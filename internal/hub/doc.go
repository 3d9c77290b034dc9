// Package hub reads a model from any HTTP server that answers Range requests, and keeps what it
// has read in a cache on disk: whole small files in a folder, and weight files as sparse files that
// have their full size from the start, of which single ranges become present on demand.
//
// It owns the HTTP requests, the cache's layout, its metadata and its size. It must not know what
// is in a file: which ranges are wanted is decided above.
//
// Invariants:
//
//   - A range counts as present only when its bytes came from the file whose identity (ETag, or
//     else Last-Modified, and size) the cache keeps it under, and are on the disk before the
//     metadata says so. A file that changes at its origin is another file in the cache.
//   - What a server says is checked before it is believed: status, Content-Range, sizes, identity.
//     A file whose SHA-256 the origin tells is checked once it is there as a whole.
//   - The token goes to the model's own scheme, host and port only, and is in no error and no log.
//   - Several processes may use a cache at once. Short changes happen under one lock; a weight file
//     that some process has open is not evicted.
//   - A process that is killed at any moment loses at most what it has read since it last noted it.
//
// Layout of the cache:
//
//	lock                         held for each change of metadata
//	NAME-HASH/files/config.json  small files, whole
//	NAME-HASH/tags/config.json   the ETag of each
//	NAME-HASH/weights/F@ID       a sparse weight file; ID is a hash of its identity
//	NAME-HASH/weights/F@ID.have  which ranges of it are present
//	NAME-HASH/claims/F@ID        locks on ranges that some process is reading
//
// Reading a checkpoint:
//
//	m, err := hub.Open(ctx, hub.Config{URL: url, CacheDir: dir}, "config.json")
//	if err != nil {
//		return err
//	}
//	defer m.Close()
//	ck, err := safetensors.OpenFrom(ctx, m.Dir(), m)
package hub
