package hub

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// recordSuffix ends the name of a weight file's metadata.
const recordSuffix = ".have"

// file is an open weight file in the cache. Its data has a shared lock, so that nobody evicts it.
type file struct {
	m    *Model
	name string
	path string
	data *os.File
	// claims is a file of locks, of spans that some process is reading.
	claims string

	committing sync.Mutex // held by the goroutine that commits

	mu    sync.Mutex
	have  record
	dirty int64     // bytes that came since the last commit
	saved time.Time // of the last commit
}

// nameOf is the plain name in the path of a weight file or its metadata.
func nameOf(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), "@")
	return name
}

// locked runs change while no other process or goroutine changes metadata in the cache.
func (m *Model) locked(change func() error) (err error) {
	f, err := os.OpenFile(filepath.Join(m.root, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("lock the cache: %w", diskError(err))
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := lockFile(f, true); err != nil {
		return err
	}
	return change()
}

// openFile opens the sparse file of an identity, and makes it where it is not there. Metadata that
// is broken, or not of this file, means that nothing is present.
func (m *Model) openFile(name string, is identity) (*file, error) {
	f := &file{m: m, name: name, saved: time.Now()}
	f.path = filepath.Join(m.dir, "weights", name+"@"+is.id())
	f.claims = filepath.Join(m.dir, "claims", filepath.Base(f.path))
	return f, m.locked(func() (err error) {
		f.data, err = os.OpenFile(f.path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return fmt.Errorf("open the cache: %w", diskError(err))
		}
		if err := f.begin(is); err != nil {
			return errors.Join(err, f.data.Close())
		}
		return nil
	})
}

// begin takes the shared lock and reads the metadata, under the lock of the cache.
func (f *file) begin(is identity) error {
	if err := lockFile(f.data, false); err != nil {
		return err
	}
	info, err := f.data.Stat()
	if err != nil {
		return err
	}
	r, err := readRecord(f.path + recordSuffix)
	if err == nil && r.identity == is && info.Size() == is.Size {
		f.have = *r
		now := time.Now()
		return os.Chtimes(f.path+recordSuffix, now, now) // used last
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.m.log.Warn("metadata in the cache is broken; reading the file again", "err", err)
	}
	f.have = record{identity: is}
	// Whoever is killed after the next step must not leave old metadata beside a file of holes.
	if err := os.Remove(f.path + recordSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := f.data.Truncate(is.Size); err != nil {
		return fmt.Errorf("make the cache's file of %s with %d bytes: %w", f.name, is.Size,
			diskError(err))
	}
	return f.write()
}

// write replaces the metadata.
func (f *file) write() error {
	data, err := f.have.encode()
	if err != nil {
		return err
	}
	if len(data) > maxRecordBytes {
		return fmt.Errorf("%s: too many separate ranges are in the cache", f.name)
	}
	return writeWhole(f.path+recordSuffix, data)
}

// close gives the file back to whoever wants to evict it.
func (f *file) close() error { return f.data.Close() }

// put writes the first bytes of the file.
func (f *file) put(prefix []byte) error {
	s := span{0, int64(len(prefix))}
	if f.present(s) {
		return nil
	}
	if _, err := f.data.WriteAt(prefix, 0); err != nil {
		return fmt.Errorf("write the cache: %w", diskError(err))
	}
	f.add(s)
	return nil
}

// inPlace tells whether the file is still the one with its name. If somebody has deleted it, the
// metadata beside that name is of another file, in which this one's bytes are missing.
func (f *file) inPlace() bool {
	mine, err := f.data.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.path)
	return err == nil && os.SameFile(mine, named)
}

func (f *file) present(s span) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have.Present.has(s)
}

// missing is what of s is not present.
func (f *file) missing(s span) spans {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have.Present.without(s)
}

// keep writes bytes that came, which makes them present.
func (f *file) keep(data []byte, at int64) error {
	if _, err := f.data.WriteAt(data, at); err != nil {
		return &refusal{fmt.Errorf("write the cache: %w", diskError(err))}
	}
	f.add(span{at, at + int64(len(data))})
	return nil
}

// add notes that s was written.
func (f *file) add(s span) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.have.Present = f.have.Present.add(s)
	f.dirty += s.bytes()
}

// refresh takes over what other processes have noted, and returns what of the wanted spans is
// missing.
func (f *file) refresh(want spans) spans {
	r, err := readRecord(f.path + recordSuffix)
	there := f.inPlace() // after the reading: what was read may be of a newer file
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && there && r.identity == f.have.identity {
		f.have.Checked = f.have.Checked || r.Checked
		for _, s := range r.Present {
			f.have.Present = f.have.Present.add(s)
		}
	}
	var missing spans
	for _, s := range want {
		missing = append(missing, f.have.Present.without(s)...)
	}
	return missing
}

const (
	// commitBytes and commitAfter are what a killed process may lose. Less would wait for the disk
	// more often.
	commitBytes = 256 << 20
	commitAfter = 5 * time.Second
)

// commitSoon commits when enough has come since the last time.
func (f *file) commitSoon() error {
	f.mu.Lock()
	due := f.dirty >= commitBytes || f.dirty > 0 && time.Since(f.saved) > commitAfter
	if due {
		f.saved = time.Now() // one goroutine does it
	}
	f.mu.Unlock()
	if !due {
		return nil
	}
	return f.commit()
}

// commit writes to the disk what came, and then notes it.
func (f *file) commit() error {
	f.committing.Lock()
	defer f.committing.Unlock()
	f.mu.Lock()
	dirty := f.dirty
	came := append(spans(nil), f.have.Present...)
	f.mu.Unlock()
	if dirty == 0 {
		return nil
	}
	if err := f.data.Sync(); err != nil {
		return fmt.Errorf("write the cache: %w", diskError(err))
	}
	return f.m.locked(func() error {
		if !f.inPlace() {
			f.m.log.Warn("a file in use was deleted from the cache: it will be read again", "file", f.path)
			return nil
		}
		r, err := readRecord(f.path + recordSuffix)
		if err != nil || r.identity != f.have.identity {
			r = &record{identity: f.have.identity}
		}
		for _, s := range came {
			r.Present = r.Present.add(s)
		}
		merged := &file{m: f.m, name: f.name, path: f.path, have: *r}
		if err := merged.write(); err != nil {
			return fmt.Errorf("write the cache: %w", err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.dirty, f.saved = f.dirty-dirty, time.Now()
		return nil
	})
}

// check compares the whole file with the SHA-256 that its origin tells, once it is whole.
func (f *file) check() error {
	f.mu.Lock()
	whole := span{0, f.have.Size}
	due := f.have.SHA256 != "" && !f.have.Checked && f.have.Present.has(whole)
	f.mu.Unlock()
	if !due {
		return nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f.data, 0, whole.end)); err != nil {
		return fmt.Errorf("check %s in the cache: %w", f.name, err)
	}
	right := hex.EncodeToString(h.Sum(nil)) == f.have.SHA256
	err := f.m.locked(func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.have.Checked = right
		if !right { // nobody may use it again
			f.have.Present = nil
		}
		if !f.inPlace() {
			return nil
		}
		return f.write()
	})
	if right {
		return err
	}
	return errors.Join(f.m.client.fileError(f.name, refuse("%w: the copy was thrown away, "+
		"start again", errChecksum)), err)
}
