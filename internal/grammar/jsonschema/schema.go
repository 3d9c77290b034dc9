package jsonschema

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Error says which keyword of a schema cannot be held to, and where it stands.
type Error struct {
	Keyword string
	Pointer string // to the schema that has the keyword, as a JSON pointer; "" is the whole
	Reason  string
}

// Error implements error.
func (e *Error) Error() string {
	at := e.Pointer
	if at == "" {
		at = "the root"
	}
	if e.Keyword == "" {
		return fmt.Sprintf("JSON schema at %s: %s", at, e.Reason)
	}
	return fmt.Sprintf("JSON schema keyword %q at %s: %s", e.Keyword, at, e.Reason)
}

// schema is a schema at its place.
type schema struct {
	id      int // in the order in which they were met
	v       *value
	pointer string
}

func (s *schema) errorf(keyword, format string, args ...any) *Error {
	return &Error{Keyword: keyword, Pointer: s.pointer, Reason: fmt.Sprintf(format, args...)}
}

// is reports whether s is the boolean schema b.
func (s *schema) is(b bool) bool { return s.v.kind == isBool && s.v.text == strconv.FormatBool(b) }

// document is the text of a schema, whose parts become schemas when they are used.
type document struct {
	root    *value
	id      string // the root's $id
	schemas map[*value]*schema
	anchors map[string]*schema // by $anchor; nil until one is looked for
	lists   map[*value][]namedSchema
	enums   map[*value]map[string]bool // identities
}

// at returns the schema that v is.
func (d *document) at(v *value, pointer string) (*schema, error) {
	if s, ok := d.schemas[v]; ok {
		return s, nil
	}
	s := &schema{id: len(d.schemas), v: v, pointer: pointer}
	if v.kind != isBool && v.kind != isObject {
		return nil, s.errorf("", "a schema is an object or a boolean")
	}
	if err := s.check(v == d.root); err != nil {
		return nil, err
	}
	d.schemas[v] = s
	return s, nil
}

// sub returns the schema that a keyword of s holds, or nil.
func (d *document) sub(s *schema, keyword string) (*schema, error) {
	v := s.v.get(keyword)
	if v == nil {
		return nil, nil
	}
	return d.at(v, s.pointer+"/"+keyword)
}

// subs returns the schemas of an array that a keyword of s holds.
func (d *document) subs(s *schema, keyword string) ([]*schema, error) {
	v := s.v.get(keyword)
	if v == nil {
		return nil, nil
	}
	if v.kind != isArray {
		return nil, s.errorf(keyword, "it is not an array of schemas")
	}
	out := make([]*schema, len(v.items))
	for i, item := range v.items {
		var err error
		if out[i], err = d.at(item, fmt.Sprintf("%s/%s/%d", s.pointer, keyword, i)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// named returns the schemas of an object that a keyword of s holds, in their order.
func (d *document) named(s *schema, keyword string) ([]namedSchema, error) {
	v := s.v.get(keyword)
	if v == nil {
		return nil, nil
	}
	if v.kind != isObject {
		return nil, s.errorf(keyword, "it is not an object of schemas")
	}
	if out, ok := d.lists[v]; ok {
		return out, nil
	}
	out := make([]namedSchema, len(v.members))
	for i, m := range v.members {
		sub, err := d.at(m.value, s.pointer+"/"+keyword+"/"+escapePointer(m.name))
		if err != nil {
			return nil, err
		}
		out[i] = namedSchema{m.name, sub}
	}
	d.lists[v] = out
	return out, nil
}

type namedSchema struct {
	name string
	*schema
}

func escapePointer(name string) string {
	if !strings.ContainsAny(name, "~/") {
		return name
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// resolve returns the schema that s's $ref refers to.
func (d *document) resolve(s *schema, ref *value) (*schema, error) {
	if ref.kind != isString {
		return nil, s.errorf("$ref", "it is not a string")
	}
	target, found := strings.CutPrefix(ref.text, "#")
	if !found && d.id != "" {
		target, found = strings.CutPrefix(strings.TrimPrefix(ref.text, d.id), "#")
		found = found || ref.text == d.id
		if ref.text == d.id {
			target = ""
		}
	}
	if !found {
		return nil, s.errorf("$ref", "only references within the schema are supported, not %.80q",
			ref.text)
	}
	target, err := url.PathUnescape(target)
	if err != nil {
		return nil, s.errorf("$ref", "%.80q is not a reference", ref.text)
	}
	if target != "" && target[0] != '/' {
		return d.anchor(s, target)
	}
	v := d.root
	for _, part := range strings.Split(target, "/")[1:] {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		next := v.get(part)
		if i, err := strconv.Atoi(part); err == nil && v.kind == isArray && 0 <= i && i < len(v.items) {
			next = v.items[i]
		}
		if next == nil {
			return nil, s.errorf("$ref", "there is nothing at %.80q", ref.text)
		}
		v = next
	}
	return d.at(v, target)
}

// anchor returns the schema with an $anchor.
func (d *document) anchor(s *schema, name string) (*schema, error) {
	if d.anchors == nil {
		d.anchors = map[string]*schema{}
		if err := d.findAnchors(d.root, ""); err != nil {
			return nil, err
		}
	}
	if found := d.anchors[name]; found != nil {
		return found, nil
	}
	return nil, s.errorf("$ref", "there is no $anchor %.80q", name)
}

func (d *document) findAnchors(v *value, pointer string) error {
	if a := v.get("$anchor"); a != nil && a.kind == isString {
		s, err := d.at(v, pointer)
		if err != nil {
			return err
		}
		d.anchors[a.text] = s
	}
	for _, m := range v.members {
		if m.name == "enum" || m.name == "const" {
			continue
		}
		if err := d.findAnchors(m.value, pointer+"/"+escapePointer(m.name)); err != nil {
			return err
		}
	}
	for i, item := range v.items {
		if err := d.findAnchors(item, fmt.Sprintf("%s/%d", pointer, i)); err != nil {
			return err
		}
	}
	return nil
}

// unsupported are the keywords of the standard that would have an effect, with what to do instead.
var unsupported = map[string]string{
	"$dynamicRef":           "it is not supported; use $ref",
	"$recursiveRef":         "it is not supported; use $ref",
	"additionalItems":       "it is not supported; use prefixItems and items",
	"contains":              "it is not supported",
	"dependencies":          "it is not supported",
	"dependentRequired":     "it is not supported",
	"dependentSchemas":      "it is not supported",
	"else":                  "it is not supported",
	"if":                    "it is not supported; use anyOf",
	"not":                   "it is not supported",
	"then":                  "it is not supported",
	"unevaluatedItems":      "it is not supported; use items",
	"unevaluatedProperties": "it is not supported; use additionalProperties",
}

// check refuses what s has and cannot be held to. Keywords that are only read with others are
// checked there; unknown ones are annotations, as the standard says.
func (s *schema) check(root bool) error {
	for _, m := range s.v.members {
		switch {
		case m.name == "uniqueItems":
			if m.value.kind == isBool && m.value.text == "true" && !s.atMostOne() {
				return s.errorf(m.name, "it is not supported but with maxItems of 0 or 1")
			}
		case m.name == "$id" && !root:
			return s.errorf(m.name, "it is supported at the root alone")
		case m.name == "items" && m.value.kind == isArray:
			return s.errorf(m.name, "an array of schemas is not supported; use prefixItems")
		case unsupported[m.name] != "":
			return s.errorf(m.name, "%s", unsupported[m.name])
		}
	}
	return nil
}

func (s *schema) atMostOne() bool {
	n := s.v.get("maxItems")
	return n != nil && (n.text == "0" || n.text == "1")
}

// holds reports whether an enum holds v.
func (d *document) holds(enum, v *value) bool {
	set, ok := d.enums[enum]
	if !ok {
		set = make(map[string]bool, len(enum.items))
		for _, x := range enum.items {
			set[identity(x)] = true
		}
		d.enums[enum] = set
	}
	return set[identity(v)]
}

// silent are the keywords that say nothing of a value.
var silent = map[string]bool{
	"$anchor": true, "$comment": true, "$defs": true, "$id": true, "$schema": true, "default": true,
	"definitions": true, "deprecated": true, "description": true, "examples": true,
	"readOnly": true, "title": true, "writeOnly": true,
}

// speaks reports whether s may say anything of a value.
func (s *schema) speaks() bool {
	return s.is(false) || slices.ContainsFunc(s.v.members, func(m member) bool {
		return !silent[m.name]
	})
}

// count reads a keyword that holds a number of things; absent, it is missing.
func (s *schema) count(keyword string, missing int) (int, error) {
	v := s.v.get(keyword)
	if v == nil {
		return missing, nil
	}
	if v.kind == isNumber {
		if x, ok := decimal(v.text); ok && x.IsInt() && x.Sign() >= 0 {
			const large = 1 << 30
			if !x.Num().IsInt64() || x.Num().Int64() > large {
				return large, nil
			}
			return int(x.Num().Int64()), nil
		}
	}
	return 0, s.errorf(keyword, "it is not a number of things")
}

// strings reads a keyword that holds strings.
func (s *schema) strings(keyword string) ([]string, error) {
	v := s.v.get(keyword)
	if v == nil {
		return nil, nil
	}
	if v.kind != isArray || slices.ContainsFunc(v.items, func(x *value) bool {
		return x.kind != isString
	}) {
		return nil, s.errorf(keyword, "it is not an array of strings")
	}
	out := make([]string, len(v.items))
	for i, x := range v.items {
		out[i] = x.text
	}
	return out, nil
}
