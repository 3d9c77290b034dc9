package demo

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Name is the demo model's name in the API and in the command line.
const Name = "conclave-demo-moe"

// root is the folder of the checkpoint inside the embedded tree.
const root = "checkpoint"

//go:embed checkpoint
var embedded embed.FS

// file is one file of the checkpoint: its base name and its bytes, read-only.
type file struct {
	name string
	data []byte
}

// Unpack writes the checkpoint into the folder dir/<content hash>, creates dir if needed, and
// returns the folder's path. A folder that is already there is used again; files in it that are
// missing or differ from the embedded ones are replaced.
func Unpack(dir string) (path string, err error) {
	files, err := readEmbedded()
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, contentHash(files))
	if err := unpack(dir, path, files); err != nil {
		return "", fmt.Errorf("unpack %s into %s: %w", Name, path, err)
	}
	return path, nil
}

// unpack makes path, a folder in dir, hold the files.
func unpack(dir, path string, files []file) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := install(dir, path, files); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return mend(path, files)
}

// readEmbedded lists the checkpoint's files in the order of their names.
func readEmbedded() ([]file, error) {
	entries, err := fs.ReadDir(embedded, root)
	if err != nil {
		return nil, fmt.Errorf("read the embedded %s: %w", Name, err)
	}
	files := make([]file, 0, len(entries))
	for _, entry := range entries {
		data, err := embedded.ReadFile(root + "/" + entry.Name()) // embed paths have slashes everywhere
		if err != nil {
			return nil, fmt.Errorf("read the embedded %s: %w", Name, err)
		}
		files = append(files, file{entry.Name(), data})
	}
	return files, nil
}

// contentHash names the content: the first 16 hex digits of a SHA-256 over names, sizes and bytes.
func contentHash(files []file) string {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%s %d\n", f.name, len(f.data))
		h.Write(f.data)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// install writes the files to a fresh folder beside path and renames it to path. If another process
// was faster the rename is refused, since the folder there is not empty, and that folder is used.
func install(dir, path string, files []file) (err error) {
	fresh, err := os.MkdirTemp(dir, ".unpack-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	next := filepath.Join(fresh, "next")
	if err := os.Mkdir(next, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if err := writeSynced(filepath.Join(next, f.name), f.data); err != nil {
			return err
		}
	}
	if err := os.Rename(next, path); err != nil && !isFolder(path) {
		return err
	}
	return nil
}

// mend replaces the files at path that are missing or wrong, each by one rename: a reader finds the
// old file or the right one, and two processes that mend the same file write the same bytes. The
// checkpoint is small, so all of it is compared: that costs milliseconds and also finds damage that
// keeps the size.
func mend(path string, files []file) error {
	for _, f := range files {
		name := filepath.Join(path, f.name)
		got, err := os.ReadFile(name)
		if err == nil && bytes.Equal(got, f.data) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := replace(name, f.data); err != nil {
			return err
		}
	}
	return nil
}

// replace puts data at name by way of a temporary file in the same folder.
func replace(name string, data []byte) (err error) {
	fresh, err := os.MkdirTemp(filepath.Dir(name), ".mend-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	next := filepath.Join(fresh, filepath.Base(name))
	if err := writeSynced(next, data); err != nil {
		return err
	}
	return os.Rename(next, name)
}

// isFolder says whether a folder is at path.
func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// writeSynced writes a new file and syncs it, so that no later rename outlives its bytes in a
// crash.
func writeSynced(name string, data []byte) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}
