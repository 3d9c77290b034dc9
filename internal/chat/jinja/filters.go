package jinja

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// filterFunc applies a filter to in.
type filterFunc func(it *interp, in Value, a args) Value

// lookupFilter returns the filter of that name, or nil.
func lookupFilter(name string) filterFunc {
	switch name {
	case "abs":
		return filterAbs
	case "capitalize", "upper", "lower", "title", "trim", "replace", "center", "indent", "truncate",
		"urlencode", "wordcount", "format", "string", "escape", "e", "forceescape", "safe":
		return lookupTextFilter(name)
	case "count", "length":
		return func(it *interp, in Value, a args) Value {
			a.bind(it)
			return Int(int64(it.length(in)))
		}
	case "d", "default":
		return filterDefault
	case "float":
		return filterFloat
	case "int":
		return filterInt
	case "round":
		return filterRound
	case "attr":
		return filterAttr
	case "tojson":
		return toJSON
	}
	return lookupSeqFilter(name)
}

func filterDefault(it *interp, in Value, a args) Value {
	p := a.bind(it, "default_value?", "boolean?")
	if in.kind == kindUndefined || p[1].given() && p[1].truth() && !in.truth() {
		if !p[0].given() {
			return LiteralString("")
		}
		return p[0]
	}
	return in
}

// filterAttr reads attributes only, never items.
func filterAttr(it *interp, in Value, a args) Value {
	name := it.needText(a.bind(it, "name")[0], "attribute name").s
	it.defined(in)
	if v, ok := it.attribute(in, name); ok {
		return v
	}
	return missingAttr(in, name)
}

func filterAbs(it *interp, in Value, a args) Value {
	a.bind(it)
	it.defined(in)
	switch {
	case in.isInt():
		return BigInt(new(big.Int).Abs(in.big()))
	case in.kind == kindFloat:
		return Float(math.Abs(in.float()))
	}
	it.fail("bad operand type for abs(): '%s'", in.typeName())
	return Value{}
}

// number removes the underscores that Python allows between digits and surrounding white space.
func numberText(s string) string {
	s = strings.TrimFunc(s, isSpace)
	if strings.HasPrefix(s, "_") || strings.HasSuffix(s, "_") || strings.Contains(s, "__") {
		return ""
	}
	return strings.ReplaceAll(s, "_", "")
}

func parseFloat(s string) (float64, bool) {
	s = numberText(s)
	if strings.ContainsAny(s, "xXpP") {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil || math.IsInf(f, 0)
}

func filterFloat(it *interp, in Value, a args) Value {
	p := a.bind(it, "default?")
	it.defined(in)
	switch {
	case in.isNumber():
		return Float(it.toFloat(in))
	case in.kind == kindString:
		if f, ok := parseFloat(in.text().s); ok {
			return Float(f)
		}
	}
	if p[0].given() {
		return p[0]
	}
	return Float(0)
}

func filterInt(it *interp, in Value, a args) Value {
	p := a.bind(it, "default?", "base?")
	it.defined(in)
	otherwise := p[0]
	if !otherwise.given() {
		otherwise = Int(0)
	}
	switch {
	case in.isInt():
		return BigInt(in.big())
	case in.kind == kindFloat:
		return it.truncated(in.float(), otherwise)
	case in.kind != kindString:
		return otherwise
	}
	base := it.orInt(p[1], 10, "base")
	if base != 0 && (base < 2 || base > 36) {
		it.fail("int() base must be >= 2 and <= 36, or 0")
	}
	s := in.text().s
	if len(s) <= maxIntBits/4 {
		if i, ok := new(big.Int).SetString(intDigits(s, base), base); ok {
			return it.integer(i)
		}
	}
	if f, ok := parseFloat(s); ok {
		return it.truncated(f, otherwise)
	}
	return otherwise
}

// intDigits removes the prefix that Python allows before digits of an explicit base.
func intDigits(s string, base int) string {
	s = numberText(s)
	prefix := map[int]string{2: "0b", 8: "0o", 16: "0x"}[base]
	sign := ""
	if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
		sign, s = s[:1], s[1:]
	}
	if prefix != "" && strings.HasPrefix(strings.ToLower(s), prefix) {
		s = s[2:]
	}
	return sign + s
}

func (it *interp) truncated(f float64, otherwise Value) Value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return otherwise
	}
	i, _ := big.NewFloat(math.Trunc(f)).Int(nil)
	return it.integer(i)
}

func filterRound(it *interp, in Value, a args) Value {
	p := a.bind(it, "precision?", "method?")
	it.defined(in)
	if !in.isNumber() {
		it.fail("round: %s is not a number", in.typeName())
	}
	places := it.orInt(p[0], 0, "precision")
	if places < -400 || places > 400 {
		it.fail("round: precision %d is out of range", places)
	}
	method := "common"
	if p[1].given() {
		method = it.needText(p[1], "method").s
	}
	switch method {
	case "ceil":
		return scaled(it.toFloat(in), places, math.Ceil)
	case "floor":
		return scaled(it.toFloat(in), places, math.Floor)
	case "common":
	default:
		it.fail("method must be common, ceil or floor")
	}
	if in.isInt() {
		if places >= 0 {
			return BigInt(in.big())
		}
		return it.roundInt(in.big(), -places)
	}
	return Float(roundFloat(in.float(), places))
}

func scaled(f float64, places int, round func(float64) float64) Value {
	p := math.Pow(10, float64(places))
	return Float(round(f*p) / p)
}

// roundFloat rounds the exact decimal expansion half to even, as CPython does.
func roundFloat(f float64, places int) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return f
	}
	if places >= 0 {
		r, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'f', places, 64), 64)
		return r
	}
	p := math.Pow(10, float64(-places))
	return math.RoundToEven(f/p) * p
}

// roundInt rounds to a multiple of 10^digits, half to even.
func (it *interp) roundInt(i *big.Int, digits int) Value {
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits)), nil)
	q, r := new(big.Int).DivMod(i, unit, new(big.Int))
	twice := r.Lsh(r, 1).Cmp(unit)
	if twice > 0 || twice == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(1))
	}
	return it.integer(q.Mul(q, unit))
}
