package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// settingsFile is --config: a file of settings, which is read here; but for
// synth and for benches of a model it is the config.json of one, and left to the command.
type settingsFile string

// takesModelConfig reports whether --config of a command is the config.json of a model.
func takesModelConfig(command string) bool {
	return slices.Contains([]string{"synth", "bench kernels", "bench model"}, command)
}

// BeforeResolve implements kong's hook.
func (settingsFile) BeforeResolve(app *kong.Kong, ctx *kong.Context, trace *kong.Path) error {
	if command := ctx.Selected(); command != nil && takesModelConfig(commandName(command)) {
		return nil
	}
	path, _ := ctx.FlagValue(trace.Flag).(settingsFile)
	resolver, err := app.LoadConfig(string(path))
	if err != nil {
		return err
	}
	ctx.AddResolver(resolver)
	return nil
}

// fileSettings is a settings file: flag names at the top level, or under the
// name of the command that they are for.
type fileSettings struct{ values map[string]any }

// readConfig is kong's loader for --config.
func readConfig(r io.Reader) (kong.Resolver, error) {
	var f fileSettings
	if err := yaml.NewDecoder(r).Decode(&f.values); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read --config: %w", err)
	}
	return &f, nil
}

// Validate implements kong.Resolver: a key that is no flag is an error.
func (f *fileSettings) Validate(app *kong.Application) error {
	everywhere := flagNames(app.Node)
	commands := map[string][]string{}
	for _, command := range app.Leaves(false) {
		commands[commandName(command)] = flagNames(command)
		everywhere = append(everywhere, flagNames(command)...)
	}
	var problems []error
	for key, value := range f.values {
		nested, isMap := value.(map[string]any)
		flags, isCommand := commands[key]
		switch {
		case isMap && isCommand:
			for name := range nested {
				if !slices.Contains(flags, name) {
					problems = append(problems,
						fmt.Errorf("--config: %s.%s is no flag of conclave %s", key, name, key))
				}
			}
		case !slices.Contains(everywhere, key):
			problems = append(problems, fmt.Errorf("--config: %s is no flag", key))
		}
	}
	return errors.Join(problems...)
}

// commandName is what follows conclave on the command line, such as "bench serve".
func commandName(n *kong.Node) string {
	if n.Parent == nil || n.Parent.Type == kong.ApplicationNode {
		return n.Name
	}
	return commandName(n.Parent) + " " + n.Name
}

func flagNames(n *kong.Node) []string {
	var names []string
	for _, f := range n.Flags {
		names = append(names, f.Name)
	}
	return names
}

// Resolve implements kong.Resolver. The environment comes first.
func (f *fileSettings) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, set := os.LookupEnv(env); set {
			return nil, nil
		}
	}
	if node := parent.Node(); node != nil {
		if nested, ok := f.values[commandName(node)].(map[string]any); ok {
			if v, ok := nested[flag.Name]; ok {
				return plain(flag.Name, v)
			}
		}
	}
	return plain(flag.Name, f.values[flag.Name])
}

// plain turns a YAML value into what the flag's own parser reads.
func plain(name string, v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return nil, fmt.Errorf("--config: %s: want a value, not keys", name)
	case []any:
		parts := make([]string, len(v))
		for i, p := range v {
			parts[i] = fmt.Sprint(p)
		}
		return strings.Join(parts, ","), nil
	}
	return fmt.Sprint(v), nil
}
