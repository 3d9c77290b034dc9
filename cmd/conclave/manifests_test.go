package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// workload is the part of a Deployment or StatefulSet that says how Conclave
// is started.
type workload struct {
	Kind string
	Spec struct {
		Template struct {
			Spec struct {
				GracePeriod int64 `yaml:"terminationGracePeriodSeconds"`
				Containers  []container
			}
		}
	}
}

type container struct {
	Name, Image string
	Args        []string
	Env         []struct{ Name string }
	Ports       []struct {
		ContainerPort int `yaml:"containerPort"`
	}
	VolumeMounts []struct {
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

// manifestWorkloads reads what runs the image "conclave" in deploy/k8s.
func manifestWorkloads(t *testing.T) []workload {
	t.Helper()
	files, err := filepath.Glob("../../deploy/k8s/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var found []workload
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for documents := yaml.NewDecoder(f); ; {
			var w workload
			err := documents.Decode(&w)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			for _, c := range w.Spec.Template.Spec.Containers {
				if c.Image == "conclave" {
					found = append(found, w)
				}
			}
		}
	}
	if len(found) < 2 {
		t.Fatalf("%d workloads run conclave, want a coordinator and workers", len(found))
	}
	return found
}

// TestManifestsStart parses the arguments in deploy/k8s as the binary would:
// an unknown flag or a bad value fails here and not on somebody's cluster.
func TestManifestsStart(t *testing.T) {
	for _, w := range manifestWorkloads(t) {
		c := w.Spec.Template.Spec.Containers[0]
		t.Run(c.Name, func(t *testing.T) {
			args := slices.Clone(c.Args)
			for i := range args {
				for _, e := range c.Env {
					args[i] = strings.ReplaceAll(args[i], "$("+e.Name+")", "value")
				}
				for _, m := range c.VolumeMounts {
					if flag, ok := strings.CutSuffix(args[i], "="+m.MountPath); ok {
						args[i] = flag + "=" + t.TempDir()
					}
				}
			}
			var line cli
			parser, err := newParser(&line)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := parser.Parse(args)
			if err != nil {
				t.Fatalf("conclave %s: %v", strings.Join(args, " "), err)
			}
			checkEnv(t, c, parsed)
			switch parsed.Command() {
			case "coordinator":
				checkPorts(t, c, line.Coordinator.GossipPort, line.Coordinator.Listen)
				checkGrace(t, w, line.Coordinator.DrainTimeout)
			case "worker":
				checkPorts(t, c, line.Worker.GossipPort, line.Worker.Listen, line.Worker.MetricsListen)
				checkGrace(t, w, line.Worker.DrainTimeout)
			default:
				t.Errorf("it starts conclave %s", parsed.Command())
			}
		})
	}
}

// checkEnv refuses a CONCLAVE_ variable that is no setting.
func checkEnv(t *testing.T, c container, parsed *kong.Context) {
	t.Helper()
	var known []string
	for _, f := range parsed.Flags() {
		known = append(known, f.Envs...)
	}
	for _, e := range c.Env {
		if strings.HasPrefix(e.Name, "CONCLAVE_") && !slices.Contains(known, e.Name) {
			t.Errorf("environment variable %s is the twin of no flag", e.Name)
		}
	}
}

// checkPorts holds the flags to the ports that the pod declares.
func checkPorts(t *testing.T, c container, gossip int, listen ...string) {
	t.Helper()
	used := []string{strconv.Itoa(gossip)}
	for _, addr := range listen {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		used = append(used, port)
	}
	for _, want := range used {
		declared := false
		for _, p := range c.Ports {
			declared = declared || strconv.Itoa(p.ContainerPort) == want
		}
		if !declared {
			t.Errorf("port %s is used but not declared", want)
		}
	}
}

// checkGrace makes sure that a pod is not killed while it drains.
func checkGrace(t *testing.T, w workload, drain time.Duration) {
	t.Helper()
	grace := time.Duration(w.Spec.Template.Spec.GracePeriod) * time.Second
	if grace <= drain+10*time.Second {
		t.Errorf("the pod is killed after %v, draining takes up to %v and leaving some seconds more", grace, drain)
	}
}
