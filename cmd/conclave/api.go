package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/conclave-serve/conclave/coordinator/openai"
)

// keyList is a list of API keys, comma-separated. An empty one is refused: it
// is no list of keys that let everybody in.
type keyList []string

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *keyList) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("no key; leave it out if nobody needs any")
	}
	*l = append(*l, strings.Split(string(text), ",")...)
	return nil
}

// keyFile is the path of a file of keys. An empty one is refused for the same
// reason.
type keyFile string

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *keyFile) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("no file; leave it out if nobody needs a key")
	}
	*f = keyFile(text)
	return nil
}

// apiFlags say who may use the API, and how much of it.
type apiFlags struct {
	APIKey         keyList       `help:"Keys of which a request must have one, comma-separated; default: nobody needs any." placeholder:"KEY"`
	APIKeyFile     keyFile       `help:"File with such keys, one a line; read again when it changes." placeholder:"FILE"`
	CORSOrigin     []string      `help:"Origins whose web pages may use the API, comma-separated, or *; default: none." placeholder:"ORIGIN"`
	MaxBody        byteSize      `help:"Largest body of a request." default:"32MiB"`
	RequestTimeout time.Duration `help:"How long a completion may take; 0: as long as its client waits." default:"0s"`
}

func (f *apiFlags) access() openai.Access {
	return openai.Access{Keys: f.APIKey, KeyFile: string(f.APIKeyFile), Origins: f.CORSOrigin}
}

func (f *apiFlags) validate() error {
	access := f.access()
	if err := access.Check(); err != nil {
		return fmt.Errorf("--api-key, --api-key-file and --cors-origin: %w", err)
	}
	if f.MaxBody < 1 {
		return fmt.Errorf("--max-body is %d: want 1 or more", f.MaxBody)
	}
	return notNegative("request-timeout", f.RequestTimeout)
}

// args are the flags for a child, but for the keys: everybody may read a
// process's command line.
func (f *apiFlags) args() []string {
	args := []string{
		"--max-body", fmt.Sprint(int64(f.MaxBody)), "--request-timeout", f.RequestTimeout.String(),
	}
	if f.APIKeyFile != "" {
		args = append(args, "--api-key-file", string(f.APIKeyFile))
	}
	if len(f.CORSOrigin) > 0 {
		args = append(args, "--cors-origin", strings.Join(f.CORSOrigin, ","))
	}
	return args
}

// env is the environment for a child that needs the keys.
func (f *apiFlags) env() []string {
	if len(f.APIKey) == 0 {
		return nil
	}
	return []string{"CONCLAVE_API_KEY=" + strings.Join(f.APIKey, ",")}
}

// keyFlag is the key that a client shows. Of several, as the environment of a
// server has them, it is the first.
type keyFlag struct {
	APIKey keyList `help:"Key to show, if the coordinator wants one." placeholder:"KEY"`
}

func (f *keyFlag) key() string {
	if len(f.APIKey) == 0 {
		return ""
	}
	return f.APIKey[0]
}
