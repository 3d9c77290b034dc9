package jsonschema

import (
	"math/big"
	"strconv"
	"strings"

	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

// How long numbers become. Integers fit 64 bits, and other numbers a float64, unless bounds ask for
// more.
const (
	intDigits      = 18
	fractionDigits = 17
	maxDigits      = 330 // of bounds, before and behind the point; a float64 has 308
)

// decimal reads a JSON number; ok is false if it is longer than maxDigits.
func decimal(text string) (*big.Rat, bool) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	if exponent != "" {
		if e, err := strconv.Atoi(exponent); err != nil || e < -maxDigits || e > maxDigits {
			return nil, false
		}
	}
	if len(mantissa) > maxDigits {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

// bound is an end of a range of numbers.
type bound struct {
	at        *big.Rat // nil: there is none
	exclusive bool
}

// interval is a range of numbers.
type interval struct{ low, high bound }

// raise and lower narrow the range.
func (i *interval) raise(b bound) {
	if i.low.at == nil || b.at.Cmp(i.low.at) > 0 || b.exclusive && b.at.Cmp(i.low.at) == 0 {
		i.low = b
	}
}

func (i *interval) lower(b bound) {
	if i.high.at == nil || b.at.Cmp(i.high.at) < 0 || b.exclusive && b.at.Cmp(i.high.at) == 0 {
		i.high = b
	}
}

// has reports whether x is in the range.
func (i *interval) has(x *big.Rat) bool {
	if l := i.low; l.at != nil {
		if c := x.Cmp(l.at); c < 0 || c == 0 && l.exclusive {
			return false
		}
	}
	if h := i.high; h.at != nil {
		if c := x.Cmp(h.at); c > 0 || c == 0 && h.exclusive {
			return false
		}
	}
	return true
}

// meets reports whether two ranges may have a number in common.
func (i *interval) meets(j *interval) bool {
	both := *i
	if j.low.at != nil {
		both.raise(j.low)
	}
	if j.high.at != nil {
		both.lower(j.high)
	}
	if both.low.at == nil || both.high.at == nil {
		return true
	}
	c := both.low.at.Cmp(both.high.at)
	return c < 0 || c == 0 && !both.low.exclusive && !both.high.exclusive
}

func digit(lo, hi byte) *regular.Node { return regular.Char(regular.Of(rune(lo), rune(hi))) }

func digits(least, most int) *regular.Node {
	return regular.Times(digit('0', '9'), least, most)
}

// integers returns the integers of a range, without a leading zero or "-0".
func integers(i *interval) *regular.Node {
	if i.low.at == nil && i.high.at == nil {
		nonzero := regular.Concat(digit('1', '9'), digits(0, intDigits-1))
		return regular.Union(regular.Text("0"),
			regular.Concat(regular.Times(regular.Text("-"), 0, 1), nonzero))
	}
	low, high := i.integerEnds()
	zero, one := new(big.Int), big.NewInt(1)
	var kids []*regular.Node
	if high.Sign() >= 0 && low.Cmp(high) <= 0 {
		kids = append(kids, naturals(larger(low, zero), high))
	}
	if low.Sign() < 0 && low.Cmp(high) <= 0 {
		from := larger(new(big.Int).Neg(high), one)
		kids = append(kids, regular.Concat(regular.Text("-"),
			naturals(from, new(big.Int).Neg(low))))
	}
	return regular.Union(kids...)
}

// integerEnds returns the least and the greatest integer of a range; where it has no end, one of a
// digit more than the other end.
func (i *interval) integerEnds() (low, high *big.Int) {
	if b := i.low; b.at != nil {
		if low = floor(b.at); b.exclusive || !b.at.IsInt() {
			low.Add(low, big.NewInt(1))
		}
	}
	if b := i.high; b.at != nil {
		high = floor(b.at)
		if b.exclusive && b.at.IsInt() {
			high.Sub(high, big.NewInt(1))
		}
	}
	if low == nil {
		low = new(big.Int).Neg(beyond(high))
	}
	if high == nil {
		high = beyond(low)
	}
	return low, high
}

// beyond returns the greatest number of a digit more than x has, and of at least intDigits.
func beyond(x *big.Int) *big.Int {
	n := max(intDigits, len(new(big.Int).Abs(x).String())+1)
	p := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
	return p.Sub(p, big.NewInt(1))
}

func floor(r *big.Rat) *big.Int {
	// Div rounds towards minus infinity for a positive divisor.
	return new(big.Int).Div(r.Num(), r.Denom())
}

func larger(a, b *big.Int) *big.Int {
	if a.Cmp(b) > 0 {
		return a
	}
	return b
}

// naturals returns the numbers low to high, neither negative.
func naturals(low, high *big.Int) *regular.Node {
	if low.Cmp(high) > 0 {
		return regular.Union()
	}
	a, b := low.String(), high.String()
	if len(a) == len(b) {
		return between(a, b)
	}
	kids := []*regular.Node{between(a, strings.Repeat("9", len(a)))}
	if n := len(b) - len(a) - 1; n > 0 {
		kids = append(kids, regular.Concat(digit('1', '9'), digits(len(a), len(b)-2)))
	}
	return regular.Union(append(kids, between("1"+strings.Repeat("0", len(b)-1), b))...)
}

// between returns the strings of digits a to b, which have one length.
func between(a, b string) *regular.Node {
	n := len(a)
	switch {
	case n == 0:
		return regular.Concat()
	case strings.Trim(a, "0") == "" && strings.Trim(b, "9") == "":
		return digits(n, n)
	case a[0] == b[0]:
		return regular.Concat(digit(a[0], a[0]), between(a[1:], b[1:]))
	}
	kids := []*regular.Node{
		regular.Concat(digit(a[0], a[0]), between(a[1:], strings.Repeat("9", n-1))),
		regular.Concat(digit(b[0], b[0]), between(strings.Repeat("0", n-1), b[1:])),
	}
	if a[0]+1 < b[0] {
		kids = append(kids, regular.Concat(digit(a[0]+1, b[0]-1), digits(n-1, n-1)))
	}
	return regular.Union(kids...)
}

// numbers returns the numbers of a range. Those with bounds have no exponent.
func numbers(i *interval) *regular.Node {
	if i.low.at == nil && i.high.at == nil {
		whole := regular.Union(regular.Text("0"),
			regular.Concat(digit('1', '9'), digits(0, intDigits-1)))
		exponent := regular.Concat(regular.Char(regular.Of('E', 'E', 'e', 'e')),
			regular.Times(regular.Char(regular.Of('+', '+', '-', '-')), 0, 1), digits(1, 2))
		return regular.Concat(regular.Times(regular.Text("-"), 0, 1), whole, anyFraction(),
			regular.Times(exponent, 0, 1))
	}
	zero := bound{at: new(big.Rat)}
	positive, negative := interval{zero, i.high}, interval{zero, i.low.negated()}
	if i.low.at != nil {
		positive.raise(i.low)
	}
	if i.high.at != nil {
		negative.raise(i.high.negated())
	}
	return regular.Union(decimals(&positive),
		regular.Concat(regular.Text("-"), decimals(&negative)))
}

func (b bound) negated() bound {
	if b.at == nil {
		return b
	}
	return bound{new(big.Rat).Neg(b.at), b.exclusive}
}

// anyFraction returns a point and digits, or nothing.
func anyFraction() *regular.Node { return fraction(digits(1, fractionDigits), true) }

func fraction(tail *regular.Node, optional bool) *regular.Node {
	n := regular.Concat(regular.Text("."), tail)
	if optional {
		n = regular.Times(n, 0, 1)
	}
	return n
}

// decimals returns the numbers of a range that begins at zero or above.
func decimals(i *interval) *regular.Node {
	if i.high.at != nil {
		if c := i.low.at.Cmp(i.high.at); c > 0 || c == 0 && (i.low.exclusive || i.high.exclusive) {
			return regular.Union()
		}
	}
	low, lowTail := parts(i.low.at)
	lowEnd := &tail{lowTail, i.low.exclusive}
	one := big.NewInt(1)
	if i.high.at == nil {
		return regular.Union(
			regular.Concat(regular.Text(low.String()), fractions(lowEnd, nil)),
			regular.Concat(naturals(new(big.Int).Add(low, one), beyond(low)), anyFraction()),
		)
	}
	high, highTail := parts(i.high.at)
	highEnd := &tail{highTail, i.high.exclusive}
	if low.Cmp(high) == 0 {
		return regular.Concat(regular.Text(low.String()), fractions(lowEnd, highEnd))
	}
	return regular.Union(
		regular.Concat(regular.Text(low.String()), fractions(lowEnd, nil)),
		regular.Concat(regular.Text(high.String()), fractions(nil, highEnd)),
		regular.Concat(naturals(new(big.Int).Add(low, one), new(big.Int).Sub(high, one)),
			anyFraction()),
	)
}

// parts returns the digits of x, which is not negative, before and behind the point.
func parts(x *big.Rat) (*big.Int, string) {
	text := strings.TrimRight(x.FloatString(2*maxDigits), "0")
	_, behind, _ := strings.Cut(text, ".")
	return floor(x), behind
}

// tail is an end of a range, as digits behind the point without trailing zeros.
type tail struct {
	digits    string
	exclusive bool
}

// fractions returns what follows the integer part of numbers between two ends, each nil if the
// integer part says enough.
func fractions(low, high *tail) *regular.Node {
	more := tails(low, high)
	whole := (low == nil || low.digits == "" && !low.exclusive) &&
		(high == nil || high.digits != "" || !high.exclusive)
	atLeastOne := regular.Concat(regular.Text("."), more.nonempty)
	if !whole {
		return atLeastOne
	}
	return regular.Union(regular.Concat(), atLeastOne)
}

// digitsBetween is strings of digits between two ends: those that are not empty, and whether the
// empty one is.
type digitsBetween struct {
	nonempty *regular.Node
	empty    bool
}

func (d digitsBetween) all() *regular.Node {
	if d.empty {
		return regular.Union(regular.Concat(), d.nonempty)
	}
	return d.nonempty
}

// tails returns the digits behind what both ends have in common with the number so far.
func tails(low, high *tail) digitsBetween {
	if low != nil && low.digits == "" && !low.exclusive {
		low = nil // whatever follows is above
	}
	zeros := func(least int) *regular.Node {
		return regular.Times(digit('0', '0'), least, fractionDigits)
	}
	switch {
	case low == nil && high == nil:
		return digitsBetween{digits(1, fractionDigits), true}
	case high != nil && high.digits == "":
		if low != nil || high.exclusive {
			return digitsBetween{regular.Union(), false}
		}
		return digitsBetween{zeros(1), true}
	case high == nil && low.digits == "": // anything but zeros
		return digitsBetween{
			regular.Concat(zeros(0), digit('1', '9'), digits(0, fractionDigits)), false,
		}
	}
	l, h := byte('0'), byte('9')
	if low != nil && low.digits != "" {
		l = low.digits[0]
	}
	if high != nil {
		h = high.digits[0]
	}
	var kids []*regular.Node
	put := func(from, to byte, low, high *tail) {
		if from <= to {
			kids = append(kids, regular.Concat(digit(from, to), tails(low, high).all()))
		}
	}
	switch {
	case l > h:
	case high == nil:
		put(l, l, low.behind(), nil)
		put(l+1, '9', nil, nil)
	case low == nil:
		put(h, h, nil, high.behind())
		put('0', h-1, nil, nil)
	case l == h:
		put(l, l, low.behind(), high.behind())
	default:
		put(l, l, low.behind(), nil)
		put(l+1, h-1, nil, nil)
		put(h, h, nil, high.behind())
	}
	return digitsBetween{regular.Union(kids...), low == nil}
}

// behind returns the end behind its first digit.
func (t *tail) behind() *tail {
	if t.digits == "" {
		return t
	}
	return &tail{t.digits[1:], t.exclusive}
}
