package safetensors

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func tensor(name string, d DType, shape []int, data ...byte) Tensor {
	return Tensor{Name: name, DType: d, Shape: shape, Data: data}
}

// sharded writes two shards and the given index.
func sharded(t *testing.T, index string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "one.safetensors"),
		tensor("a", U8, []int{3}, 1, 2, 3), tensor("both", U8, []int{1}, 1))
	write(t, filepath.Join(dir, "two.safetensors"),
		tensor("b", BF16, []int{1, 2}, 4, 5, 6, 7), tensor("both", U8, []int{1}, 2))
	if err := os.WriteFile(filepath.Join(dir, indexFile), []byte(index), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path string, tensors ...Tensor) {
	t.Helper()
	if err := Write(path, tensors); err != nil {
		t.Fatal(err)
	}
}

func TestOpenSharded(t *testing.T) {
	dir := sharded(t, `{"metadata":{"total_size":8,"x":[{}]},"weight_map":
		{"a":"one.safetensors","b":"two.safetensors","both":"two.safetensors"}}`)
	ck, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := ck.Names(); !slices.Equal(got, []string{"a", "b", "both"}) {
		t.Errorf("names %v", got)
	}
	if ck.Bytes() != 8 {
		t.Errorf("%d bytes, want 8", ck.Bytes())
	}
	b, _ := ck.Tensor("b")
	if b.File != "two.safetensors" || b.DType != BF16 || !slices.Equal(b.Shape, []int{1, 2}) ||
		!bytes.Equal(b.Data, []byte{4, 5, 6, 7}) || cap(b.Data) != 4 {
		t.Errorf("tensor b is %+v", b)
	}
	if both, _ := ck.Tensor("both"); !bytes.Equal(both.Data, []byte{2}) {
		t.Errorf("tensor both is %+v, the index says two.safetensors", both)
	}
	if _, ok := ck.Tensor("c"); ok {
		t.Error("has a tensor that is not there")
	}
	for _, f := range ck.Files() {
		if f.Header[0] != '{' || f.Bytes <= int64(len(f.Header)) {
			t.Errorf("file %s: %d bytes, header %q", f.Name, f.Bytes, f.Header)
		}
	}
	if err := errors.Join(ck.Close(), ck.Close()); err != nil {
		t.Error(err)
	}
	if _, ok := ck.Tensor("b"); ok {
		t.Error("has tensors after Close")
	}
}

// What is idle can be read all the same, and what lies beside it is left alone.
func TestIdle(t *testing.T) {
	page := os.Getpagesize()
	dir := t.TempDir()
	data := bytes.Repeat([]byte{7}, 5*page)
	write(t, filepath.Join(dir, "model.safetensors"), tensor("a", U8, []int{len(data)}, data...))
	ck, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := ck.Tensor("a")
	end := int64(4 * page)
	for _, r := range []Range{
		{a.File, 100, 101}, {a.File, 1, end}, {a.File, end, 1}, {a.File, 0, 1 << 50}, {"other", 0, end},
	} {
		ck.Idle(r)
	}
	if !bytes.Equal(a.Data, data) {
		t.Error("the data is another one")
	}
	if err := ck.Close(); err != nil {
		t.Error(err)
	}
	ck.Idle(Range{a.File, 0, end})
}

func TestOpenRefusesIndex(t *testing.T) {
	for _, c := range []struct{ name, index, err string }{
		{"shard missing", `{"weight_map":{"a":"three.safetensors"}}`, "three.safetensors, which is missing"},
		{"tensor missing", `{"weight_map":{"b":"one.safetensors"}}`, `tensor "b" in one.safetensors, which lacks it`},
		{"escape", `{"weight_map":{"a":"../one.safetensors"}}`, "not a plain"},
		{"absolute", `{"weight_map":{"a":"/one.safetensors"}}`, "not a plain"},
		{"folder", `{"weight_map":{"a":"x/one.safetensors"}}`, "not a plain"},
		{"backslash", `{"weight_map":{"a":"..\\one.safetensors"}}`, "not a plain"},
		{"drive", `{"weight_map":{"a":"c:one.safetensors"}}`, "not a plain"},
		{"zero byte", `{"weight_map":{"a":"one\u0000.safetensors"}}`, "not a plain"},
		{"other kind", `{"weight_map":{"a":"config.json"}}`, "not a plain"},
		{"empty name", `{"weight_map":{"a":""}}`, "not a plain"},
		{"no map", `{"metadata":{}}`, "weight_map: missing or empty"},
		{"empty map", `{"weight_map":{}}`, "weight_map: missing or empty"},
		{"map type", `{"weight_map":["a"]}`, "want {"},
		{"shard type", `{"weight_map":{"a":1}}`, "want a string"},
		{"tensor twice", `{"weight_map":{"a":"one.safetensors","a":"two.safetensors"}}`, "given twice"},
		{"map twice", `{"weight_map":{"a":"one.safetensors"},"weight_map":{}}`, "given twice"},
		{"cut", `{"weight_map":{"a":"one.safetensors"`, "ends too early"},
		{"two values", `{"weight_map":{"a":"one.safetensors"}}{}`, "follows the closing brace"},
		{"array", `[]`, "want {"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(sharded(t, c.index))
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want one with %q", err, c.err)
			}
			if !strings.HasPrefix(err.Error(), indexFile+": ") {
				t.Errorf("error %q does not name the index", err)
			}
		})
	}
}

func TestOpenRefusesFolder(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "holds neither") {
		t.Errorf("an empty folder gives %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, singleFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder named like the file gives %v", err)
	}
}

// TestOpenTruncated cuts a good file at every length.
func TestOpenTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), singleFile)
	write(t, path, tensor("a", U8, []int{3}, 1, 2, 3), tensor("b", F16, []int{1}, 4, 5))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if ck, err := Open(filepath.Dir(path)); err == nil {
			ck.Close()
			t.Fatalf("accepts the first %d of %d bytes", n, len(whole))
		} else if !strings.Contains(err.Error(), singleFile) {
			t.Fatalf("error %q does not name the file", err)
		}
	}
}

// TestWriteAsReference rewrites a file that the reference implementation wrote: the tensors' bytes
// must come out in the same order.
func TestWriteAsReference(t *testing.T) {
	golden := filepath.Join("..", "..", "testdata", "golden", "qwen3-dense-tied")
	ck, err := Open(golden)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	var tensors []Tensor
	for _, name := range slices.Backward(ck.Names()) {
		one, _ := ck.Tensor(name)
		tensors = append(tensors, one)
	}
	path := filepath.Join(t.TempDir(), singleFile)
	write(t, path, tensors...)
	data := func(path string) []byte {
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n, err := HeaderLength(file, int64(len(file)), path)
		if err != nil {
			t.Fatal(err)
		}
		if n%8 != 0 {
			t.Errorf("%s: header of %d bytes leaves the data unaligned", path, n)
		}
		return file[prefixBytes+n:]
	}
	if !bytes.Equal(data(path), data(filepath.Join(golden, singleFile))) {
		t.Error("the data differ from the reference's")
	}
}

func TestWriteRefuses(t *testing.T) {
	good := tensor("a", U8, []int{1}, 1)
	for _, c := range []struct {
		name    string
		tensors []Tensor
		err     string
	}{
		{"too few bytes", []Tensor{tensor("a", F32, []int{1}, 1)}, `tensor "a": got 1 bytes`},
		{"twice", []Tensor{good, good}, `"a": named twice`},
		{"reserved", []Tensor{tensor("__metadata__", U8, []int{1}, 1)}, "__metadata__"},
		{"dtype", []Tensor{tensor("a", "F128", []int{1}, 1)}, `unknown element type "F128"`},
		{"shape", []Tensor{tensor("a", U8, []int{-1})}, "negative"},
		{"overflow", []Tensor{tensor("a", U8, []int{1 << 62, 4})}, "too large"},
		{"sum overflows", []Tensor{tensor("a", U8, []int{1 << 60}), tensor("b", U8, []int{1 << 60}),
			tensor("c", F64, []int{1 << 57}), tensor("d", F64, []int{1 << 57}),
			tensor("e", F64, []int{1 << 57}), tensor("f", F64, []int{1 << 57}),
			tensor("g", F64, []int{1 << 57}), tensor("h", F64, []int{1 << 57})}, "write"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			err := Write(filepath.Join(dir, "x.safetensors"), c.tensors)
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want one with %q", err, c.err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("leaves %v", left)
			}
		})
	}
}

func TestCreateKeepsOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), singleFile)
	write(t, path, tensor("a", U8, []int{1}, 7))
	stop := errors.New("stop")
	err := Create(path, []Tensor{tensor("b", U8, []int{1})},
		func(io.Writer, Tensor) error { return stop })
	if !errors.Is(err, stop) || !strings.Contains(fmt.Sprint(err), `tensor "b"`) {
		t.Errorf("error %v", err)
	}
	ck, err := Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	if a, _ := ck.Tensor("a"); !bytes.Equal(a.Data, []byte{7}) {
		t.Errorf("the old file holds %v", ck.Names())
	}
}
