package hub

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// cached is a weight file in the cache, of any model.
type cached struct {
	path  string
	bytes int64     // on the disk
	used  time.Time // when it was opened last, or came to
}

// makeRoom deletes files until want bytes more are within the limit.
func (m *Model) makeRoom(want int64) error {
	if m.limit <= 0 {
		return nil
	}
	return m.locked(func() error {
		list, err := m.cached()
		if err != nil {
			return fmt.Errorf("measure the cache: %w", err)
		}
		var used int64
		for _, c := range list {
			used += c.bytes
		}
		for _, c := range list {
			if used+want <= m.limit {
				return nil
			}
			if gone, err := evict(c.path); err != nil {
				return fmt.Errorf("make room in the cache: %w", err)
			} else if gone {
				m.log.Info("deleted from the cache", "file", filepath.Base(c.path), "bytes", c.bytes)
				used -= c.bytes
			}
		}
		if used+want <= m.limit {
			return nil
		}
		return fmt.Errorf("the cache in %s has %s in use, and %s more would go beyond its limit of %s: "+
			"raise --cache-limit", m.root, humanize.IBytes(uint64(used)), humanize.IBytes(uint64(want)),
			humanize.IBytes(uint64(m.limit)))
	})
}

// weightFile is the end of a weight file's name, see openFile.
var weightFile = regexp.MustCompile(`@[0-9a-f]{16}$`)

// cached lists the weight files, those used longest ago first.
func (m *Model) cached() ([]cached, error) {
	names, err := fs.Glob(os.DirFS(m.root), "*/weights/*@*")
	if err != nil {
		return nil, err
	}
	var list []cached
	for _, name := range names {
		if !weightFile.MatchString(name) {
			continue // metadata, or not of the cache
		}
		path := filepath.Join(m.root, filepath.FromSlash(name))
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c := cached{path: path, bytes: storedBytes(info), used: info.ModTime()}
		if record, err := os.Stat(path + recordSuffix); err == nil {
			c.used = record.ModTime()
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b cached) int {
		return cmp.Or(a.used.Compare(b.used), strings.Compare(a.path, b.path))
	})
	return list, nil
}

// evict deletes a file, unless somebody has it open. The caller holds the lock of the cache.
func evict(path string) (gone bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if !tryLockFile(f) {
		return false, nil
	}
	// Metadata first: it must not speak of a file that is not there.
	if err := os.Remove(path + recordSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, os.Remove(path)
}
