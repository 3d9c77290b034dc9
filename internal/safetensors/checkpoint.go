package safetensors

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// singleFile is the weight file of a checkpoint without shards.
const singleFile = "model.safetensors"

// ErrNoWeights is the error of Open for a folder without any weight file.
var ErrNoWeights = errors.New("holds neither " + singleFile + " nor " + indexFile)

// Tensor is one tensor of a checkpoint. Data is row-major, little-endian and at any alignment. When
// it comes from a Checkpoint it is a read-only view of the mapped File, from byte Offset on.
type Tensor struct {
	Name   string
	DType  DType
	Shape  []int
	Data   []byte
	File   string
	Offset int64
}

// File is one weight file of a checkpoint: its plain name, its size, and its JSON header as stored.
type File struct {
	Name   string
	Bytes  int64
	Header []byte
}

// Checkpoint is a validated, mapped folder of weights. Reading it is safe from any goroutine;
// Close must not run while Data of its tensors is in use.
type Checkpoint struct {
	source  Source // nil if everything is in the folder
	files   []*mapped
	tensors map[string]located
	names   []string
	bytes   int64
}

// mapped is one weight file in memory.
type mapped struct {
	name    string
	data    []byte // whole file; nil once closed
	header  int    // length of the JSON header
	entries []Entry
}

// located says where a tensor is.
type located struct {
	file  *mapped
	entry Entry
}

// Open maps the checkpoint in dir: model.safetensors, or else the shards that
// model.safetensors.index.json names. Every header is checked before Open returns.
func Open(dir string) (*Checkpoint, error) { return OpenFrom(context.Background(), dir, nil) }

// OpenFrom is Open for a checkpoint whose weight files come from source, and of which only the
// index, if it has one, is in dir. Of the weights it reads the headers; whoever wants to see more
// calls Fetch before. With a nil source it is Open. Headers in the copies of a Remote
// that are not right are read from its origin again, once.
func OpenFrom(ctx context.Context, dir string, source Source) (*Checkpoint, error) {
	c := &Checkpoint{source: source, tensors: make(map[string]located)}
	err := c.open(ctx, dir)
	if err != nil && c.renewHeaders(ctx) {
		closed := c.Close()
		c = &Checkpoint{source: source, tensors: make(map[string]located)}
		err = errors.Join(closed, c.open(ctx, dir))
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	for name, at := range c.tensors {
		c.names = append(c.names, name)
		c.bytes += at.entry.End - at.entry.Begin
	}
	slices.Sort(c.names)
	return c, nil
}

func (c *Checkpoint) open(ctx context.Context, dir string) error {
	paths, err := c.paths(ctx, dir, singleFile)
	if err == nil && c.source == nil {
		if _, err = os.Stat(paths[0]); err != nil {
			err = fmt.Errorf("open checkpoint: %w", err)
		}
	}
	if err == nil {
		return c.openSingle(ctx, paths[0])
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	weightMap, err := readIndex(dir)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open checkpoint %s: %w", dir, ErrNoWeights)
	}
	if err != nil {
		return err
	}
	return c.openShards(ctx, dir, weightMap)
}

// openSingle maps the one file; all of its tensors are the checkpoint's.
func (c *Checkpoint) openSingle(ctx context.Context, path string) error {
	f, err := c.mapFile(singleFile, path)
	if err != nil {
		return err
	}
	if err := c.readHeaders(ctx); err != nil {
		return err
	}
	for _, e := range f.entries {
		c.tensors[e.Name] = located{f, e}
	}
	return nil
}

// openShards maps the files of the index. Tensors of a shard that the index does not place there
// are not part of the checkpoint.
func (c *Checkpoint) openShards(
	ctx context.Context, dir string, weightMap map[string]string,
) error {
	byShard := make(map[string][]string)
	for tensor, shard := range weightMap {
		byShard[shard] = append(byShard[shard], tensor)
	}
	shards := make([]string, 0, len(byShard))
	for shard := range byShard {
		shards = append(shards, shard)
	}
	slices.Sort(shards)
	paths, err := c.paths(ctx, dir, shards...)
	if err != nil {
		return err
	}
	for i, shard := range shards {
		_, err := c.mapFile(shard, paths[i])
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s: names the shard %s, which is missing", indexFile, shard)
		}
		if err != nil {
			return err
		}
	}
	if err := c.readHeaders(ctx); err != nil {
		return err
	}
	for i, shard := range shards {
		for _, e := range c.files[i].entries {
			if weightMap[e.Name] == shard {
				c.tensors[e.Name] = located{c.files[i], e}
			}
		}
		slices.Sort(byShard[shard])
		for _, name := range byShard[shard] {
			if _, ok := c.tensors[name]; !ok {
				return fmt.Errorf("%s: places tensor %s in %s, which lacks it",
					indexFile, quote(name), shard)
			}
		}
	}
	return nil
}

// mapFile maps one file, and adds it to the checkpoint's.
func (c *Checkpoint) mapFile(name, path string) (*mapped, error) {
	data, err := mapFile(path)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	f := &mapped{name: name, data: data}
	c.files = append(c.files, f)
	return f, nil
}

// readHeaders checks the headers of all files.
func (c *Checkpoint) readHeaders(ctx context.Context) error {
	if err := c.fetchHeaders(ctx); err != nil {
		return err
	}
	for _, f := range c.files {
		size := int64(len(f.data))
		n, err := HeaderLength(f.data, size, f.name)
		if err != nil {
			return err
		}
		f.header = n
		if f.entries, err = ParseHeader(f.headerBytes(), size, f.name); err != nil {
			return err
		}
	}
	return nil
}

func (f *mapped) headerBytes() []byte { return f.data[prefixBytes : prefixBytes+f.header] }

// Tensor returns the tensor of this name.
func (c *Checkpoint) Tensor(name string) (Tensor, bool) {
	at, ok := c.tensors[name]
	if !ok || at.file.data == nil {
		return Tensor{}, false
	}
	e := at.entry
	return Tensor{
		Name:  e.Name,
		DType: e.DType,
		Shape: e.Shape,
		Data:  at.file.data[e.Begin:e.End:e.End],
		File:  at.file.name, Offset: e.Begin,
	}, true
}

// Names lists the tensors in ascending order. The caller must not change the list.
func (c *Checkpoint) Names() []string { return c.names }

// Bytes is the size of all tensors together.
func (c *Checkpoint) Bytes() int64 { return c.bytes }

// Files lists the weight files in ascending order of their names. Header is a view of the mapping.
func (c *Checkpoint) Files() []File {
	files := make([]File, 0, len(c.files))
	for _, f := range c.files {
		if f.data != nil {
			files = append(files, File{f.name, int64(len(f.data)), f.headerBytes()})
		}
	}
	return files
}

// Scattered says whether little of the checkpoint will be read, here and there. Otherwise the first
// read of a page may make the system read megabytes around it.
func (c *Checkpoint) Scattered(on bool) {
	for _, f := range c.files {
		expectScattered(f.data, on)
	}
}

// Idle says that ranges will not be read again soon: the system may take their pages out of this
// process's memory. They stay readable.
func (c *Checkpoint) Idle(ranges ...Range) {
	page := int64(os.Getpagesize())
	for _, r := range ranges {
		first, last := (r.Begin+page-1)/page*page, r.End/page*page // whole pages only
		for _, f := range c.files {
			if f.name == r.File && f.data != nil && first < last && last <= int64(len(f.data)) {
				expectNoRead(f.data[first:last])
			}
		}
	}
}

// Close unmaps the files; Data of every tensor becomes invalid. A second Close does nothing.
func (c *Checkpoint) Close() error {
	var errs []error
	for _, f := range c.files {
		if f.data == nil {
			continue
		}
		if err := unmapFile(f.data); err != nil {
			errs = append(errs, fmt.Errorf("unmap %s: %w", f.name, err))
		}
		f.data = nil
	}
	return errors.Join(errs...)
}

// openRegular opens a regular file and tells its size.
func openRegular(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, 0, fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	if info, err = f.Stat(); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// openWeights opens a file that is long enough for a header and short enough to map.
func openWeights(path string) (*os.File, int, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, 0, err
	}
	if size < prefixBytes || int64(int(size)) != size {
		err := fmt.Errorf("%s: is %d bytes long, not a safetensors file this machine can map", path, size)
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, int(size), nil
}
