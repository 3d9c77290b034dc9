package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/conclave-serve/conclave/internal/chat"
	"github.com/conclave-serve/conclave/internal/hub"
	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/internal/tokenizer"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
)

// inspectCommand shows what checkpoints are and need.
type inspectCommand struct {
	hubFlags
	Paths []string `arg:"" name:"path" help:"Folder of a checkpoint, with or without weights, its URL, or a config.json; several side by side."`
	JSON  bool     `help:"Print JSON."`
}

// Run implements kong's command.
func (f *inspectCommand) Run(ctx context.Context, c *cli) error {
	list := make([]*inspection, len(f.Paths))
	for i, path := range f.Paths {
		var err error
		if hub.IsURL(path) {
			list[i], err = f.inspectURL(ctx, path, c.Log.logger())
		} else {
			list[i], err = inspect(ctx, path)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if f.JSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(list)
	}
	return printInspections(os.Stdout, list)
}

// inspection is what is known of a checkpoint. Sizes are in bytes; those of the cache are of one
// sequence, in bf16.
type inspection struct {
	Path   string `json:"path"`
	Family string `json:"family"`

	Parameters       int64 `json:"parameters"`
	ActiveParameters int64 `json:"active_parameters"`

	Layers      int `json:"layers"`
	DenseLayers int `json:"dense_layers"`
	MoELayers   int `json:"moe_layers"`
	MTPLayers   int `json:"mtp_layers"`
	Hidden      int `json:"hidden_size"`

	Attention     string `json:"attention"`
	Heads         string `json:"heads"`
	KVBytes       int64  `json:"kv_bytes_per_token"`
	KVBytesWindow int64  `json:"kv_bytes_of_windows"`
	KVBytes8K     int64  `json:"kv_bytes_at_8k"`
	KVBytes128K   int64  `json:"kv_bytes_at_128k"`

	Experts      int    `json:"experts"`
	TopK         int    `json:"experts_per_token"`
	ExpertWidth  int    `json:"expert_width"`
	SharedWidth  int    `json:"shared_expert_width"`
	Gate         string `json:"gate"`
	Quantization string `json:"quantization"`

	Context    int    `json:"context"`
	Extension  string `json:"context_extension"`
	Rotary     string `json:"rotary"`
	Tokenizer  string `json:"tokenizer"`
	Tokens     int    `json:"tokens"`
	ToolFormat string `json:"tool_format"` // what --tool-format auto is
	Vocabulary int    `json:"vocabulary"`

	// SizesFrom is "files" if the weights are there, and "config" if sizes are those that the
	// family's releases need. UnusedBytes are of tensors that serving does not read.
	SizesFrom      string `json:"sizes_from"`
	AttentionBytes int64  `json:"attention_bytes"`
	ExpertsBytes   int64  `json:"experts_bytes"`
	ExpertBytes    int64  `json:"expert_bytes"`
	// What --experts-quant makes of the routed experts.
	ExpertsBytesInt8 int64 `json:"experts_bytes_int8"`
	ExpertsBytesInt4 int64 `json:"experts_bytes_int4"`
	UnusedBytes      int64 `json:"unused_bytes"`
}

// inspectURL reads a folder elsewhere: small files, and the headers of the weights.
func (f *inspectCommand) inspectURL(
	ctx context.Context, where string, log *slog.Logger,
) (*inspection, error) {
	m, err := f.openModel(ctx, modelPath(where), smallFiles(), log)
	if err != nil {
		return nil, err
	}
	defer m.close()
	i, err := inspectFolder(ctx, m)
	if err == nil {
		i.Path = where
	}
	return i, err
}

// inspect reads a folder, or a config.json alone.
func inspect(ctx context.Context, path string) (*inspection, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		spec, err := model.ReadConfig(path)
		if err != nil {
			return nil, err
		}
		i := describe(spec)
		i.Path = path
		i.setSizes("config", spec, nil)
		return i, nil
	}
	return inspectFolder(ctx, &openedModel{dir: path})
}

func inspectFolder(ctx context.Context, m *openedModel) (*inspection, error) {
	spec, err := model.Read(m.dir)
	if err != nil {
		return nil, err
	}
	i := describe(spec)
	i.Path = m.dir
	text := cmp.Or(i.readTokenizer(m.dir), i.readTemplate(m.dir)) // they share a file
	return i, errors.Join(text, i.readWeights(ctx, m, spec))
}

func (i *inspection) setSizes(from string, spec *model.Spec, ck *safetensors.Checkpoint) {
	i.SizesFrom = from
	s := spec.Sizes(ck)
	i.AttentionBytes, i.ExpertsBytes, i.ExpertBytes = s.Attention, s.Experts, s.Expert
	i.ExpertsBytesInt8 = shard.QuantInt8.ExpertsBytes(spec)
	i.ExpertsBytesInt4 = shard.QuantInt4.ExpertsBytes(spec)
}

// readTokenizer tells what tokenizer the folder has, if it has one.
func (i *inspection) readTokenizer(dir string) (err error) {
	for _, kind := range []struct{ file, name string }{
		{"tokenizer.json", "byte-level BPE"}, {"tiktoken.model", "tiktoken"},
	} {
		if _, err := os.Stat(filepath.Join(dir, kind.file)); errors.Is(err, os.ErrNotExist) {
			continue
		}
		i.Tokenizer = kind.name
		i.Tokens, err = checkTokenizer(dir, i.Vocabulary)
		return err
	}
	return nil
}

// checkTokenizer reads the tokenizer of a folder and holds it to the rows of the embedding.
func checkTokenizer(dir string, rows int) (tokens int, err error) {
	t, err := tokenizer.LoadDir(dir)
	if err != nil {
		return 0, err
	}
	if t.Size() > rows {
		return 0, fmt.Errorf("the tokenizer in %s has %d ids, but config.json says vocab_size %d: "+
			"the files are not of one model", dir, t.Size(), rows)
	}
	return t.Size(), nil
}

// readTemplate tells how the model writes tool calls, if the folder has a chat template.
func (i *inspection) readTemplate(dir string) error {
	t, err := chat.Load(dir)
	if errors.Is(err, chat.ErrNoTemplate) {
		return nil
	}
	if err == nil {
		i.ToolFormat = t.Dialect().Name()
	}
	return err
}

// readWeights checks and measures the weights of the folder, if it has any.
func (i *inspection) readWeights(
	ctx context.Context, m *openedModel, spec *model.Spec,
) (err error) {
	ck, err := safetensors.OpenFrom(ctx, m.dir, m.weights)
	if errors.Is(err, safetensors.ErrNoWeights) {
		i.setSizes("config", spec, nil)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ck.Close()) }()
	if err := spec.Check(ck); err != nil {
		return err
	}
	i.setSizes("files", spec, ck)
	i.UnusedBytes = ck.Bytes() - i.AttentionBytes - i.ExpertsBytes
	return nil
}

// title is the column's head: the name that people give the checkpoint.
func (i *inspection) title() string {
	if hub.IsURL(i.Path) {
		return hub.ModelName(i.Path)
	}
	path, err := filepath.Abs(i.Path)
	if err != nil {
		path = i.Path
	}
	name := strings.TrimSuffix(filepath.Base(path), ".json")
	if name == "config" {
		return filepath.Base(filepath.Dir(path))
	}
	return strings.TrimSuffix(name, ".config")
}
