// Package manifests holds the Kubernetes manifests to the API's own types. It is a module of its
// own, so that Conclave does not depend on Kubernetes. That the flags in the manifests exist is
// tested beside the flags, in cmd/conclave.
package manifests

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// object is one document of a manifest.
type object struct {
	file  string
	value metav1.Object
}

// kinds are the types that a manifest may hold, by kind and group version.
var kinds = map[metav1.TypeMeta]func() metav1.Object{
	{Kind: "Namespace", APIVersion: "v1"}:                       func() metav1.Object { return &corev1.Namespace{} },
	{Kind: "Service", APIVersion: "v1"}:                         func() metav1.Object { return &corev1.Service{} },
	{Kind: "PersistentVolumeClaim", APIVersion: "v1"}:           func() metav1.Object { return &corev1.PersistentVolumeClaim{} },
	{Kind: "StatefulSet", APIVersion: "apps/v1"}:                func() metav1.Object { return &appsv1.StatefulSet{} },
	{Kind: "Deployment", APIVersion: "apps/v1"}:                 func() metav1.Object { return &appsv1.Deployment{} },
	{Kind: "PodDisruptionBudget", APIVersion: "policy/v1"}:      func() metav1.Object { return &policyv1.PodDisruptionBudget{} },
	{Kind: "NetworkPolicy", APIVersion: "networking.k8s.io/v1"}: func() metav1.Object { return &networkingv1.NetworkPolicy{} },
}

// decode reads every manifest strictly: an unknown or repeated field is an error.
func decode(t *testing.T) []object {
	t.Helper()
	files, err := filepath.Glob("../*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	var objects []object
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		documents := yamlutil.NewDocumentDecoder(io.NopCloser(bytes.NewReader(data)))
		buf := make([]byte, len(data))
		for {
			n, err := documents.Read(buf)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			var meta metav1.TypeMeta
			if err := yaml.Unmarshal(buf[:n], &meta); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			create, ok := kinds[meta]
			if !ok {
				t.Errorf("%s: %s %q is not a kind this test knows", file, meta.APIVersion, meta.Kind)
				continue
			}
			o := create()
			if err := yaml.UnmarshalStrict(buf[:n], o); err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			objects = append(objects, object{file, o})
		}
	}
	return objects
}

// template returns the pods that an object makes.
func template(o metav1.Object) (corev1.PodTemplateSpec, *metav1.LabelSelector, bool) {
	switch o := o.(type) {
	case *appsv1.StatefulSet:
		return o.Spec.Template, o.Spec.Selector, true
	case *appsv1.Deployment:
		return o.Spec.Template, o.Spec.Selector, true
	}
	return corev1.PodTemplateSpec{}, nil, false
}

func TestManifestsDecodeStrictly(t *testing.T) {
	if n := len(decode(t)); n < 8 {
		t.Errorf("%d objects: some manifest is empty", n)
	}
}

func TestManifestsAreListed(t *testing.T) {
	data, err := os.ReadFile("../kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var k struct {
		Resources []string `json:"resources"`
	}
	if err := yaml.Unmarshal(data, &k); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		if name != "kustomization.yaml" && !slices.Contains(k.Resources, name) {
			t.Errorf("kustomization.yaml does not list %s", name)
		}
	}
	for _, name := range k.Resources {
		if _, err := os.Stat(filepath.Join("..", name)); err != nil {
			t.Errorf("kustomization.yaml lists %s: %v", name, err)
		}
	}
}

// Every pod keeps to the "restricted" Pod Security Standard that the namespace enforces, and has
// probes and bounds.
func TestPodsAreRestricted(t *testing.T) {
	for _, o := range decode(t) {
		pods, selector, ok := template(o.value)
		if !ok {
			continue
		}
		name := o.value.GetName()
		if s, err := metav1.LabelSelectorAsSelector(selector); err != nil || !s.Matches(labels.Set(pods.Labels)) {
			t.Errorf("%s: the selector does not match its own pods (%v)", name, err)
		}
		pod := pods.Spec.SecurityContext
		if pod == nil || pod.RunAsNonRoot == nil || !*pod.RunAsNonRoot ||
			pod.SeccompProfile == nil || pod.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: pods run as root or without a seccomp profile", name)
		}
		if link := pods.Spec.EnableServiceLinks; link == nil || *link {
			t.Errorf("%s: service links put CONCLAVE_… variables into the environment, which are settings", name)
		}
		for _, c := range pods.Spec.Containers {
			checkContainer(t, name+"/"+c.Name, c)
		}
	}
}

func checkContainer(t *testing.T, name string, c corev1.Container) {
	t.Helper()
	s := c.SecurityContext
	if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation ||
		s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
		s.Capabilities == nil || !slices.Contains(s.Capabilities.Drop, "ALL") {
		t.Errorf("%s: want no escalation, a read-only root and no capabilities", name)
	}
	if c.ReadinessProbe == nil || c.LivenessProbe == nil {
		t.Errorf("%s: a probe is missing", name)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("%s: requests or the memory limit are missing", name)
	}
	ports := map[string]bool{}
	for _, p := range c.Ports {
		ports[p.Name] = true
	}
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		switch {
		case probe == nil:
		case probe.HTTPGet != nil && !ports[probe.HTTPGet.Port.StrVal],
			probe.TCPSocket != nil && !ports[probe.TCPSocket.Port.StrVal]:
			t.Errorf("%s: a probe asks a port that the container does not name", name)
		}
	}
}

// Services, budgets and network policies select the pods they are meant for.
func TestSelectorsMatchPods(t *testing.T) {
	objects := decode(t)
	var pods []labels.Set
	for _, o := range objects {
		if p, _, ok := template(o.value); ok {
			pods = append(pods, p.Labels)
		}
	}
	for _, o := range objects {
		var selector *metav1.LabelSelector
		switch v := o.value.(type) {
		case *corev1.Service:
			selector = &metav1.LabelSelector{MatchLabels: v.Spec.Selector}
		case *policyv1.PodDisruptionBudget:
			selector = v.Spec.Selector
		case *networkingv1.NetworkPolicy:
			selector = &v.Spec.PodSelector
		default:
			continue
		}
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil {
			t.Errorf("%s: %v", o.value.GetName(), err)
			continue
		}
		if !slices.ContainsFunc(pods, func(l labels.Set) bool { return s.Matches(l) }) {
			t.Errorf("%s: %T %s selects no pod", o.file, o.value, o.value.GetName())
		}
	}
}

// A StatefulSet's service must exist, or its pods get no names.
func TestStatefulSetsHaveTheirService(t *testing.T) {
	objects := decode(t)
	services := map[string]bool{}
	for _, o := range objects {
		if s, ok := o.value.(*corev1.Service); ok {
			services[s.Name] = true
		}
	}
	for _, o := range objects {
		if s, ok := o.value.(*appsv1.StatefulSet); ok && !services[s.Spec.ServiceName] {
			t.Errorf("StatefulSet %s: there is no service %q", s.Name, s.Spec.ServiceName)
		}
	}
}
