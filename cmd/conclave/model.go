package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/alecthomas/kong"

	"github.com/conclave-serve/conclave/internal/hub"
	"github.com/conclave-serve/conclave/internal/safetensors"
)

// modelPath says where a checkpoint is: a folder, or the URL of one.
type modelPath string

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *modelPath) UnmarshalText(text []byte) error {
	if where := string(text); hub.IsURL(where) {
		_, err := hub.ParseURL(where)
		*p = modelPath(where)
		return err
	}
	dir := kong.ExpandPath(string(text))
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%q exists but is not a directory", dir)
	}
	*p = modelPath(dir)
	return nil
}

// name is what clients call the model unless told otherwise.
func (p modelPath) name() string {
	if hub.IsURL(string(p)) {
		return hub.ModelName(string(p))
	}
	return filepath.Base(filepath.Clean(string(p)))
}

// hubFlags say how a model at a URL is read and where it is kept.
type hubFlags struct {
	HubToken   string   `help:"Token for the model's URL; the environment keeps it out of the list of processes." placeholder:"TOKEN"`
	HubCA      string   `help:"File with certificates in PEM to trust beside the system's, for the model's URL." name:"hub-ca" placeholder:"FILE"`
	CacheDir   string   `help:"Folder for what is read from URLs; default: conclave/hub in the user's cache folder." placeholder:"DIR"`
	CacheLimit byteSize `help:"Most bytes of weights in it: files that nobody uses go, those used longest ago first; 0: no limit." default:"0"`
}

// The small files that a process reads of a model: all of them, and those of a worker. The first
// one must exist.
func smallFiles() []string {
	return append(workerFiles(), "generation_config.json", "tokenizer.json", "tiktoken.model",
		"tokenizer_config.json", "chat_template.jinja")
}

func workerFiles() []string { return []string{"config.json", "model.safetensors.index.json"} }

// openedModel is a checkpoint that can be read: a folder, and where its weights come from if they
// are not in it.
type openedModel struct {
	dir     string
	weights safetensors.Source // nil for a folder
	close   func()
}

// openModel makes the small files of a model ready to read.
func (f *hubFlags) openModel(
	ctx context.Context, where modelPath, files []string, log *slog.Logger,
) (*openedModel, error) {
	if !hub.IsURL(string(where)) {
		return &openedModel{dir: string(where), close: func() {}}, nil
	}
	dir := f.CacheDir
	if dir == "" {
		dir = filepath.Join(cacheDir(), "hub")
	}
	m, err := hub.Open(ctx, hub.Config{
		URL: string(where), CacheDir: dir, CacheLimit: int64(f.CacheLimit),
		Token: f.HubToken, CAFile: f.HubCA, Proxy: http.ProxyFromEnvironment, Log: log,
	}, files...)
	if err != nil {
		return nil, err
	}
	return &openedModel{dir: m.Dir(), weights: m, close: func() {
		if err := m.Close(); err != nil {
			log.Debug("the cache was closed with errors", "err", err)
		}
	}}, nil
}

// hubArgs are the flags for a child, but for the token.
func (f *hubFlags) hubArgs() []string {
	return []string{
		"--hub-ca", f.HubCA, "--cache-dir", f.CacheDir,
		"--cache-limit", strconv.FormatInt(int64(f.CacheLimit), 10),
	}
}

// hubEnv is the environment for a child that needs the token.
func (f *hubFlags) hubEnv() []string {
	if f.HubToken == "" {
		return nil
	}
	return []string{"CONCLAVE_HUB_TOKEN=" + f.HubToken}
}
