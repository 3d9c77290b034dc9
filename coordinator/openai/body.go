package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"
	"unicode/utf8"
)

// fields reads the fields of a request's JSON object. The first problem found
// stays in err, so that a parser reads as a list of fields.
type fields struct {
	values map[string]json.RawMessage
	err    *apiError

	outer *fields // that holds this object and its problems, or nil
	path  string  // of this object in outer

	asked func(name string) // if set, hears of every field that is looked for
}

// inside returns the fields of an object that is itself a field.
func (f *fields) inside(name string, values map[string]json.RawMessage) *fields {
	return &fields{values: values, outer: f, path: f.at(name), asked: f.asked}
}

// at returns the whole name of a field.
func (f *fields) at(name string) string {
	if f.path == "" {
		return name
	}
	return f.path + "." + name
}

// readBody reads the JSON object that r carries.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) (*fields, *apiError) {
	limit := s.cfg.MaxBody
	// A writer without deadlines (a test's recorder) has no slow client either.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(s.cfg.BodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		_ = control.SetReadDeadline(time.Time{}) // it would look like a client that left
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &apiError{
			status: http.StatusRequestEntityTooLarge, kind: typeInvalid, code: "request_too_large",
			message: fmt.Sprintf("The request body exceeds the limit of %d bytes.", limit),
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &apiError{
			status: http.StatusRequestTimeout, kind: typeInvalid, code: "request_timeout", cause: err,
			message: fmt.Sprintf("The request body did not arrive within %v.", s.cfg.BodyTimeout),
		}
	case err != nil:
		return nil, &apiError{
			status: http.StatusBadRequest, kind: typeInvalid, cause: err,
			message: "The request body could not be read.",
		}
	case !utf8.Valid(body):
		return nil, malformed("The request body is not valid UTF-8.")
	}
	f := &fields{asked: s.asked}
	if err := json.Unmarshal(body, &f.values); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return nil, malformed("The request body must be a JSON object.")
		}
		return nil, malformed("The request body is not valid JSON: " + err.Error() + ".")
	}
	if f.values == nil {
		return nil, malformed("The request body must be a JSON object.")
	}
	return f, nil
}

func malformed(message string) *apiError {
	return &apiError{
		status: http.StatusBadRequest, kind: typeInvalid, code: "invalid_json", message: message,
	}
}

// fail keeps the first problem.
func (f *fields) fail(e *apiError) {
	if f.outer != nil {
		f.outer.fail(e)
		return
	}
	if f.err == nil {
		f.err = e
	}
}

// failed reports whether there was a problem.
func (f *fields) failed() bool {
	for f.outer != nil {
		f = f.outer
	}
	return f.err != nil
}

// wrongType says that a field's value is not of the type that it must have.
func (f *fields) wrongType(name, want string) {
	name = f.at(name)
	e := invalid(name, "Invalid type for '%s': expected %s.", name, want)
	e.code = "invalid_type"
	f.fail(e)
}

// get returns a field that is there and not null.
func (f *fields) get(name string) (json.RawMessage, bool) {
	if f.asked != nil {
		f.asked(f.at(name))
	}
	raw, ok := f.values[name]
	return raw, ok && !bytes.Equal(raw, []byte("null"))
}

// decode reads a field into v and says whether it was there and well-formed.
func (f *fields) decode(name string, v any, want string) bool {
	raw, ok := f.get(name)
	if !ok {
		return false
	}
	if err := json.Unmarshal(raw, v); err != nil {
		f.wrongType(name, want)
		return false
	}
	return true
}

func (f *fields) text(name string) string {
	var s string
	f.decode(name, &s, "a string")
	return s
}

func (f *fields) flag(name string) bool { return f.flagOr(name, false) }

// flagOr reads a boolean that is absent if it is as fallback says.
func (f *fields) flagOr(name string, fallback bool) bool {
	b := fallback
	f.decode(name, &b, "a boolean")
	return b
}

// number reads a number between low and high; ok is false if there is none.
func (f *fields) number(name string, low, high float64) (value float64, ok bool) {
	if !f.decode(name, &value, "a number") {
		return 0, false
	}
	if value < low || value > high {
		name = f.at(name)
		f.fail(invalid(name, "Invalid value for '%s': must be between %v and %v, got %v.",
			name, low, high, value))
		return 0, false
	}
	return value, true
}

// integer reads a whole number between low and high; ok is false if there is
// none. A number such as 3.0 is whole.
func (f *fields) integer(name string, low, high int64) (value int64, ok bool) {
	raw, present := f.get(name)
	if !present {
		return 0, false
	}
	value, whole := wholeNumber(raw)
	if !whole {
		f.wrongType(name, "an integer")
		return 0, false
	}
	if value < low || value > high {
		name = f.at(name)
		f.fail(invalid(name, "Invalid value for '%s': must be between %d and %d, got %s.",
			name, low, high, clip(raw)))
		return 0, false
	}
	return value, true
}

// wholeNumber reads a JSON number without a fraction. Numbers beyond the range
// of int64 become its ends.
func wholeNumber(raw []byte) (int64, bool) {
	value, err := strconv.ParseInt(string(raw), 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return value, true
	}
	var float *float64 // nil after null, which is no number
	if json.Unmarshal(raw, &float) != nil || float == nil || *float != math.Trunc(*float) {
		return 0, false
	}
	switch {
	case *float >= math.MaxInt64:
		return math.MaxInt64, true
	case *float <= math.MinInt64:
		return math.MinInt64, true
	}
	return int64(*float), true
}

// refuse fails if a field is there with a value other than those that change
// nothing.
func (f *fields) refuse(name, why string, harmless ...string) {
	raw, ok := f.get(name)
	if !ok {
		return
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) == nil {
		for _, h := range harmless {
			if compact.String() == h {
				return
			}
		}
	}
	name = f.at(name)
	f.fail(unsupported(name, "Unsupported parameter: '%s' %s.", name, why))
}
