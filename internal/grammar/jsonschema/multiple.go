package jsonschema

import (
	"fmt"
	"math/big"

	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

// maxMultiple bounds the automata of multiples, whose states are remainders.
const maxMultiple = 2_000

// multiples returns the numbers, written with a sign, digits, a point and digits, that are
// multiples of m.
func multiples(m *big.Rat) (*regular.DFA, error) {
	// m is unit / 10^places, so a number of at most so many places is a multiple if its digits are.
	ten := new(big.Rat).SetInt64(10)
	unit, places := new(big.Rat).Set(m), 0
	for !unit.IsInt() {
		unit.Mul(unit, ten)
		if places++; places > fractionDigits {
			return nil, fmt.Errorf("multiples of less than 1e-%d are not supported", fractionDigits)
		}
	}
	if !unit.Num().IsInt64() || unit.Num().Int64()*int64(places+2) > maxMultiple {
		return nil, fmt.Errorf("multiples of %s are not supported", m.RatString())
	}
	n := int(unit.Num().Int64())
	b := multipleTable{unit: n, places: places}
	return b.build(), nil
}

// multipleTable numbers its states by the remainder of the digits so far and how many of them are
// behind the point; -1: the point has not come.
type multipleTable struct{ unit, places int }

func (b multipleTable) state(remainder, behind int) int32 {
	return int32(1 + remainder*(b.places+2) + behind + 1)
}

// The atoms: the digits, then these.
const (
	minusAtom = 10 + iota
	pointAtom
	atomCount
)

func (b multipleTable) build() *regular.DFA {
	atoms := make([]regular.Set, atomCount)
	for i := range 10 {
		atoms[i] = regular.One(rune('0' + i))
	}
	atoms[minusAtom], atoms[pointAtom] = regular.One('-'), regular.One('.')
	// State 0 is the start, where a sign may stand.
	next := [][]int32{b.row(0, -1)}
	next[0][minusAtom], next[0][pointAtom] = 0, -1
	accept := []bool{false}
	for remainder := range b.unit {
		for behind := -1; behind <= b.places; behind++ {
			next = append(next, b.row(remainder, behind))
			rest := remainder
			for range b.places - max(behind, 0) {
				rest = rest * 10 % b.unit
			}
			accept = append(accept, rest == 0 && behind != 0)
		}
	}
	return regular.Table(atoms, next, accept)
}

// row returns where each atom leads.
func (b multipleTable) row(remainder, behind int) []int32 {
	row := make([]int32, atomCount)
	for i := range row {
		row[i] = -1
	}
	if behind < b.places {
		to := behind
		if behind >= 0 {
			to++
		}
		for d := range 10 {
			row[d] = b.state((remainder*10+d)%b.unit, to)
		}
	}
	if behind < 0 && b.places > 0 {
		row[pointAtom] = b.state(remainder, 0)
	}
	return row
}
