package jinja

import (
	"math"
	"math/big"
	"strings"
)

// defined fails on undefined operands, with which Jinja2 allows no arithmetic.
func (it *interp) defined(vs ...Value) {
	for _, v := range vs {
		if v.kind == kindUndefined {
			it.undefined(v)
		}
	}
}

func (it *interp) unary(op string, v Value) Value {
	it.defined(v)
	switch {
	case v.isInt() && op == "+":
		return BigInt(v.big())
	case v.isInt():
		return BigInt(new(big.Int).Neg(v.big()))
	case v.kind == kindFloat && op == "+":
		return v
	case v.kind == kindFloat:
		return Float(-v.float())
	}
	it.fail("bad operand type for unary %s: '%s'", op, v.typeName())
	return Value{}
}

func (it *interp) binary(op string, l, r Value) Value {
	if op == "%" && l.kind == kindString { // str formats anything, undefined values included
		return it.printf(l, r)
	}
	it.defined(l, r)
	switch {
	case l.isInt() && r.isInt():
		return it.intOp(op, l, r)
	case l.isNumber() && r.isNumber():
		return it.floatOp(op, it.toFloat(l), it.toFloat(r))
	case op == "+" && l.kind == kindString && r.kind == kindString:
		return it.addText(l, r)
	case op == "+" && isListOrTuple(l) && isListOrTuple(r) && l.seq().flavor == r.seq().flavor:
		a, b := l.seq().items, r.seq().items
		it.grow((len(a) + len(b)) * valueBytes)
		items := append(append(make([]Value, 0, len(a)+len(b)), a...), b...)
		return Value{kind: kindSeq, ref: &seq{items: items, flavor: l.seq().flavor}}
	case op == "*" && r.isInt():
		return it.repeat(l, r)
	case op == "*" && l.isInt():
		return it.repeat(r, l)
	}
	it.fail("cannot apply %s to '%s' and '%s'", op, l.typeName(), r.typeName())
	return Value{}
}

func isListOrTuple(v Value) bool {
	return v.kind == kindSeq && (v.seq().flavor == flavorList || v.seq().flavor == flavorTuple)
}

// addText concatenates; a part that is not marked safe is escaped when the other one is.
func (it *interp) addText(l, r Value) Value {
	a, b := l.text(), r.text()
	it.grow(len(a.s) + len(b.s))
	if l.isMarkup() || r.isMarkup() {
		return markup(concat(it.escaped(l), it.escaped(r)))
	}
	return str(concat(a, b))
}

func (it *interp) repeat(v, times Value) Value {
	n := max(it.needInt(times, "repeat count"), 0)
	switch {
	case v.kind == kindString:
		t := v.text()
		if len(t.s) > 0 && n > it.limits.Bytes/len(t.s) {
			n = math.MaxInt / len(t.s)
		}
		it.grow(n * len(t.s))
		var b builder
		for range n {
			b.text(t)
		}
		return Value{kind: kindString, num: v.num, ref: ptr(b.done())}
	case isListOrTuple(v):
		items := v.seq().items
		if len(items) > 0 && n > it.limits.Bytes/valueBytes/len(items) {
			it.exceeded("too much text or data produced")
		}
		it.grow(n * len(items) * valueBytes)
		var out []Value
		for range n {
			if len(items) == 0 {
				break
			}
			out = append(out, items...)
		}
		return Value{kind: kindSeq, ref: &seq{items: out, flavor: v.seq().flavor}}
	}
	it.fail("cannot multiply '%s' by int", v.typeName())
	return Value{}
}

func ptr[T any](v T) *T { return &v }

func (it *interp) toFloat(v Value) float64 {
	f, ok := v.asFloat()
	if !ok {
		it.fail("int too large to convert to float")
	}
	return f
}

func (it *interp) intOp(op string, l, r Value) Value {
	if op == "/" {
		return it.floatOp(op, it.toFloat(l), it.toFloat(r))
	}
	a, aok := l.small()
	b, bok := r.small()
	if aok && bok { // the common case, exact without big ints
		switch sum, diff := a+b, a-b; {
		case op == "+" && (sum > a) == (b > 0):
			return Int(sum)
		case op == "-" && (diff < a) == (b > 0):
			return Int(diff)
		}
	}
	x, y, z := l.big(), r.big(), new(big.Int)
	switch op {
	case "+":
		z.Add(x, y)
	case "-":
		z.Sub(x, y)
	case "*":
		z.Mul(x, y)
	case "//", "%":
		if y.Sign() == 0 {
			it.fail("integer division or modulo by zero")
		}
		rest := new(big.Int)
		z.QuoRem(x, y, rest)
		if rest.Sign() != 0 && rest.Sign() != y.Sign() { // Python rounds down
			z.Sub(z, big.NewInt(1))
			rest.Add(rest, y)
		}
		if op == "%" {
			z = rest
		}
	case "**":
		return it.power(x, y)
	}
	return it.integer(z)
}

func (it *interp) integer(z *big.Int) Value {
	if z.BitLen() > maxIntBits {
		it.exceeded("integer is too large")
	}
	return BigInt(z)
}

func (it *interp) power(x, y *big.Int) Value {
	if y.Sign() < 0 {
		if x.Sign() == 0 {
			it.fail("0 cannot be raised to a negative power")
		}
		return Float(math.Pow(it.toFloat(BigInt(x)), it.toFloat(BigInt(y))))
	}
	if x.BitLen() > 1 && (!y.IsInt64() || y.Int64() > maxIntBits/int64(x.BitLen()-1)) {
		it.exceeded("integer is too large")
	}
	if x.BitLen() <= 1 && y.BitLen() > 1 { // 0, 1 and -1 to a large power
		y = new(big.Int).Add(big.NewInt(2), new(big.Int).And(y, big.NewInt(1)))
	}
	it.step(maxIntBits >> 7)
	return it.integer(new(big.Int).Exp(x, y, nil))
}

func (it *interp) floatOp(op string, a, b float64) Value {
	if b == 0 && (op == "/" || op == "//" || op == "%") {
		it.fail("division by zero")
	}
	switch op {
	case "+":
		return Float(a + b)
	case "-":
		return Float(a - b)
	case "*":
		return Float(a * b)
	case "/":
		return Float(a / b)
	case "//":
		q, _ := floorDivMod(a, b)
		return Float(q)
	case "%":
		_, m := floorDivMod(a, b)
		return Float(m)
	}
	if a == 0 && b < 0 {
		it.fail("0.0 cannot be raised to a negative power")
	}
	if a < 0 && b != math.Trunc(b) {
		it.fail("unsupported: complex result of **")
	}
	p := math.Pow(a, b)
	if math.IsInf(p, 0) && !math.IsInf(a, 0) && !math.IsInf(b, 0) {
		it.fail("result of ** is too large")
	}
	return Float(p)
}

// floorDivMod is CPython's float_divmod.
func floorDivMod(a, b float64) (q, m float64) {
	m = math.Mod(a, b)
	q = (a - m) / b
	if m != 0 {
		if (b < 0) != (m < 0) {
			m += b
			q--
		}
	} else {
		m = math.Copysign(0, b)
	}
	if q == 0 {
		return math.Copysign(0, a/b), m
	}
	floor := math.Floor(q)
	if q-floor > 0.5 {
		floor++
	}
	return floor, m
}

func (it *interp) compareChain(x *compareExpr) Value {
	l := it.eval(x.first)
	for _, op := range x.ops {
		r := it.eval(op.x)
		if !it.compare(op.op, l, r) {
			return Bool(false)
		}
		l = r
	}
	return Bool(true)
}

func (it *interp) compare(op string, l, r Value) bool {
	switch op {
	case "==":
		return it.equal(l, r, 0)
	case "!=":
		return !it.equal(l, r, 0)
	case "in":
		return it.contains(r, l)
	case "notin":
		return !it.contains(r, l)
	}
	if isNaN(l) || isNaN(r) {
		return false
	}
	c := it.order(l, r, op, 0)
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

func isNaN(v Value) bool { return v.kind == kindFloat && math.IsNaN(v.float()) }

func (it *interp) contains(container, v Value) bool {
	switch container.kind {
	case kindString:
		s, sub := container.text().s, it.needText(v, "left side of 'in <string>'").s
		it.step(len(s) >> 5)
		return strings.Contains(s, sub)
	case kindDict:
		_, ok := container.dict().find(it.hash(v))
		return ok
	}
	for _, item := range it.iterate(container) {
		if it.equal(item, v, 0) {
			return true
		}
	}
	return false
}

func (it *interp) equal(l, r Value, depth int) bool {
	it.step(1)
	if depth > maxValueDepth {
		it.exceeded("values are nested too deeply to compare")
	}
	switch {
	case l.isNumber() && r.isNumber():
		return !isNaN(l) && !isNaN(r) && numberOrder(l, r) == 0
	case l.kind != r.kind:
		return false
	}
	switch l.kind {
	case kindNone, kindUndefined:
		return true
	case kindString:
		a, b := l.text().s, r.text().s
		it.step(min(len(a), len(b)) >> 7)
		return a == b
	case kindSeq:
		return it.equalSeq(l.seq(), r.seq(), depth)
	case kindDict:
		return it.equalDict(l.dict(), r.dict(), depth)
	}
	return l.ref == r.ref
}

func (it *interp) equalSeq(l, r *seq, depth int) bool {
	if l == r {
		return true
	}
	if l.flavor != r.flavor || l.flavor == flavorIter || len(l.items) != len(r.items) {
		return false
	}
	for i, item := range l.items {
		if !it.equal(item, r.items[i], depth+1) {
			return false
		}
	}
	return true
}

func (it *interp) equalDict(l, r *Object, depth int) bool {
	if l.Len() != r.Len() {
		return false
	}
	for i, k := range l.keys {
		v, ok := r.find(it.hash(k))
		if !ok || !it.equal(l.values[i], v, depth+1) {
			return false
		}
	}
	return true
}

// numberOrder compares numbers that are not NaN exactly.
func numberOrder(l, r Value) int {
	if l.kind != kindFloat && r.kind != kindFloat {
		return l.big().Cmp(r.big())
	}
	return exact(l).Cmp(exact(r))
}

func exact(v Value) *big.Float {
	if v.kind == kindFloat {
		return big.NewFloat(v.float())
	}
	return new(big.Float).SetPrec(maxIntBits).SetInt(v.big())
}

// order is negative, zero or positive as l is below, equal to or above r.
func (it *interp) order(l, r Value, op string, depth int) int {
	it.step(1)
	it.defined(l, r)
	if depth > maxValueDepth {
		it.exceeded("values are nested too deeply to compare")
	}
	switch {
	case l.isNumber() && r.isNumber():
		if isNaN(l) || isNaN(r) {
			return 1
		}
		return numberOrder(l, r)
	case l.kind == kindString && r.kind == kindString:
		return strings.Compare(l.text().s, r.text().s)
	case isListOrTuple(l) && isListOrTuple(r) && l.seq().flavor == r.seq().flavor:
		a, b := l.seq().items, r.seq().items
		for i := range min(len(a), len(b)) {
			if !it.equal(a[i], b[i], depth+1) {
				return it.order(a[i], b[i], op, depth+1)
			}
		}
		return len(a) - len(b)
	}
	it.fail("'%s' not supported between '%s' and '%s'", op, l.typeName(), r.typeName())
	return 0
}
