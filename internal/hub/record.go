package hub

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxRecordBytes bounds the metadata of a weight file: some 400,000 ranges.
const maxRecordBytes = 16 << 20

// recordMagic begins a record; the hexadecimal SHA-256 of the JSON and a newline follow.
const recordMagic = "conclave-hub-1 "

// record is the metadata of a cached weight file: what it is, and what of it is there.
type record struct {
	identity
	// Checked says that the whole file had the SHA-256 of its identity.
	Checked bool  `json:"checked,omitempty"`
	Present spans `json:"present"`
}

// identity is what an origin says a file is.
type identity struct {
	Size int64 `json:"size"`
	// Tag is the ETag, or else Last-Modified. Linked says that it is the X-Linked-Etag of a model
	// hub, which stays while the storage behind it changes.
	Tag    string `json:"tag"`
	Linked bool   `json:"linked,omitempty"`
	// SHA256 of the whole file in hexadecimal, "" where the origin does not tell.
	SHA256 string `json:"sha256,omitempty"`
}

// id is the identity as a part of a file's name.
func (i identity) id() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %v %s", i.Size, i.Linked, i.Tag))
	return hex.EncodeToString(sum[:8])
}

// MarshalJSON implements json.Marshaler: [begin, end].
func (s span) MarshalJSON() ([]byte, error) { return json.Marshal([2]int64{s.begin, s.end}) }

// UnmarshalJSON implements json.Unmarshaler.
func (s *span) UnmarshalJSON(data []byte) error {
	var pair []int64
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("a range has %d numbers, want 2", len(pair))
	}
	*s = span{pair[0], pair[1]}
	return nil
}

func (r *record) encode() ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	return append([]byte(recordMagic+hex.EncodeToString(sum[:])+"\n"), body...), nil
}

// decodeRecord reads what encode wrote, and nothing else: a flipped digit would make bytes present
// that nobody has read.
func decodeRecord(data []byte) (*record, error) {
	head, body, ok := bytes.Cut(data, []byte("\n"))
	sum := sha256.Sum256(body)
	if !ok || string(head) != recordMagic+hex.EncodeToString(sum[:]) {
		return nil, errors.New("the checksum is wrong")
	}
	var r record
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	if r.Size < 0 || r.Size > maxFileBytes {
		return nil, fmt.Errorf("a size of %d", r.Size)
	}
	at := int64(-1) // one before where the next may begin
	for _, s := range r.Present {
		if s.begin <= at || s.end <= s.begin || s.end > r.Size {
			return nil, fmt.Errorf("range [%d, %d) is out of order or outside %d bytes",
				s.begin, s.end, r.Size)
		}
		at = s.end
	}
	return &r, nil
}

// readRecord reads a metadata file. One that is missing or broken is an error; the file that it
// belongs to then begins anew.
func readRecord(path string) (*record, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxRecordBytes || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: no metadata of this cache", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := decodeRecord(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// writeWhole replaces a file at once: whoever reads it sees the old one or the new one.
func writeWhole(path string, data []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+partSuffix)
	if err != nil {
		return diskError(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(diskError(err), os.Remove(tmp.Name()))
		}
	}()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// partSuffix marks files that a killed process may leave behind.
const partSuffix = ".part-"

// isPart tells whether a name is that of an unfinished file.
func isPart(name string) bool { return strings.Contains(name, partSuffix) }
