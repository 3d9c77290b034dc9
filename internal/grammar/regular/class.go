package regular

import (
	"strconv"
	"strings"
	"unicode"
)

// The classes that have a letter.
func digits() Set { return Of('0', '9') }
func word() Set   { return Of('0', '9', 'A', 'Z', '_', '_', 'a', 'z') }

func (p *parser) white() Set {
	if p.syntax == ECMA {
		return Of('\t', '\r', ' ', ' ', 0xa0, 0xa0, 0x1680, 0x1680, 0x2000, 0x200a, 0x2028, 0x2029,
			0x202f, 0x202f, 0x205f, 0x205f, 0x3000, 0x3000, 0xfeff, 0xfeff)
	}
	return Of('\t', '\n', '\f', '\r', ' ', ' ')
}

// escape reads an escape outside of brackets.
func (p *parser) escape() (*Node, error) {
	if p.pos+1 == len(p.src) {
		return nil, p.errorf(`trailing \`)
	}
	switch c := p.src[p.pos+1]; {
	case c == 'b' || c == 'B':
		return nil, p.errorf(`the word boundary \%c is not supported`, c)
	case '1' <= c && c <= '9' || c == 'k':
		return nil, p.errorf(`the backreference \%c is not supported`, c)
	case c == 'A':
		p.pos += 2
		return &Node{Op: Begin}, nil
	case c == 'z' || c == 'Z':
		p.pos += 2
		return &Node{Op: End}, nil
	}
	s, err := p.escapedSet()
	return Char(s), err
}

// escapedSet reads an escape that stands for a character or a class.
func (p *parser) escapedSet() (Set, error) {
	from := p.pos
	p.pos++
	if p.pos == len(p.src) {
		return nil, p.errorf(`trailing \`)
	}
	switch c := p.rune(); c {
	case 'd':
		return digits(), nil
	case 'D':
		return digits().Not(), nil
	case 'w':
		return p.folded(word()), nil
	case 'W':
		return p.folded(word()).Not(), nil
	case 's':
		return p.white(), nil
	case 'S':
		return p.white().Not(), nil
	case 'p', 'P':
		s, err := p.property()
		if c == 'P' {
			s = s.Not()
		}
		return s, err
	case 'n':
		return One('\n'), nil
	case 'r':
		return One('\r'), nil
	case 't':
		return One('\t'), nil
	case 'f':
		return One('\f'), nil
	case 'v':
		return One('\v'), nil
	case 'a':
		return One('\a'), nil
	case '0':
		return One(0), nil
	case 'c':
		if p.pos < len(p.src) {
			if l := p.src[p.pos] | 0x20; 'a' <= l && l <= 'z' {
				p.pos++
				return One(rune(l - 'a' + 1)), nil
			}
		}
		return nil, p.errorf(`\c is followed by no letter`)
	case 'x':
		return p.hex(2)
	case 'u':
		return p.hex(4)
	default:
		if c < 0x80 && (unicode.IsLetter(c) || unicode.IsDigit(c)) {
			p.pos = from
			return nil, p.errorf(`the escape \%c is not supported`, c)
		}
		return p.folded(One(c)), nil
	}
}

// hex reads the number of a character: so many digits, or any number of them in braces. Two
// surrogates in a row are one character.
func (p *parser) hex(n int) (Set, error) {
	c, err := p.hexNumber(n)
	if err != nil {
		return nil, err
	}
	if 0xd800 <= c && c < 0xdc00 && p.take(`\u`) {
		low, err := p.hexNumber(4)
		if err != nil {
			return nil, err
		}
		if low < 0xdc00 || low > 0xdfff {
			return nil, p.errorf("half a surrogate pair is no character")
		}
		c = 0x10000 + (c-0xd800)<<10 + low - 0xdc00
	}
	s := One(c)
	if s.Empty() {
		return nil, p.errorf("half a surrogate pair is no character")
	}
	return p.folded(s), nil
}

func (p *parser) hexNumber(n int) (rune, error) {
	text := p.src[p.pos:]
	if p.take("{") {
		end := strings.IndexByte(text, '}')
		if end < 0 {
			return 0, p.errorf("the number of a character does not end")
		}
		text = text[1:end]
		p.pos += end
	} else {
		if len(text) < n {
			return 0, p.errorf("the number of a character needs %d digits", n)
		}
		text = text[:n]
		p.pos += n
	}
	c, err := strconv.ParseUint(text, 16, 32)
	if err != nil || c > unicode.MaxRune {
		return 0, p.errorf("%.16q is not the number of a character", text)
	}
	return rune(c), nil
}

// property reads the name of a Unicode property: a category or a script.
func (p *parser) property() (Set, error) {
	name := ""
	switch end := strings.IndexByte(p.src[p.pos:], '}'); {
	case p.has("{") && end > 0:
		name = p.src[p.pos+1 : p.pos+end]
		p.pos += end + 1
	case p.pos < len(p.src) && !p.has("{"):
		name = string(p.rune())
	}
	negate := strings.HasPrefix(name, "^")
	name = strings.TrimPrefix(name, "^")
	if _, value, ok := strings.Cut(name, "="); ok {
		name = value
	}
	var s Set
	table, ok := unicode.Categories[name]
	if alias, known := unicode.CategoryAliases[name]; !ok && known {
		table, ok = unicode.Categories[alias]
	}
	if !ok {
		table, ok = unicode.Scripts[name]
	}
	switch {
	case ok:
		s = p.folded(unicodeTable(table))
	case name == "Any":
		s = Any()
	case name == "ASCII":
		s = Of(0, 0x7f)
	default:
		return nil, p.errorf("the Unicode property %.40q is not known", name)
	}
	if negate {
		s = s.Not()
	}
	return s, nil
}

// class reads brackets.
func (p *parser) class() (Set, error) {
	from := p.pos
	p.pos++
	negate := p.take("^")
	var pairs []rune
	// A bracket that comes first is one, but for ECMA, where [] is the empty class.
	for first := true; first && p.syntax != ECMA || !p.has("]"); first = false {
		if p.pos == len(p.src) {
			p.pos = from
			return nil, p.errorf("missing ]")
		}
		lo, single, err := p.member()
		if err != nil {
			return nil, err
		}
		if !single || !p.has("-") || p.has("-]") || p.pos+1 == len(p.src) {
			pairs = append(pairs, lo...)
			continue
		}
		p.pos++
		hi, single, err := p.member()
		if err != nil {
			return nil, err
		}
		if !single || hi[0] < lo[0] {
			return nil, p.errorf("a range of characters is out of order")
		}
		pairs = append(pairs, lo[0], hi[0])
	}
	p.pos++
	s := p.folded(Of(pairs...))
	if negate {
		s = s.Not()
	}
	return s, nil
}

// member reads a character of a class, or a class within it; single says which.
func (p *parser) member() (s Set, single bool, err error) {
	for _, kind := range []string{"[:", "[.", "[="} {
		if p.has(kind) {
			return p.posix()
		}
	}
	switch {
	case p.take(`\b`):
		return One('\b'), true, nil
	case p.has(`\`):
		fold := p.fold
		p.fold = nil // the class is folded as a whole
		s, err = p.escapedSet()
		p.fold = fold
		return s, err == nil && len(s) == 2 && s[0] == s[1], err
	}
	return One(p.rune()), true, nil
}

// posix reads [:name:].
func (p *parser) posix() (Set, bool, error) {
	classes := map[string]Set{
		"alnum": Of('0', '9', 'A', 'Z', 'a', 'z'), "alpha": Of('A', 'Z', 'a', 'z'),
		"ascii": Of(0, 0x7f), "blank": Of('\t', '\t', ' ', ' '), "cntrl": Of(0, 0x1f, 0x7f, 0x7f),
		"digit": digits(), "graph": Of('!', '~'), "lower": Of('a', 'z'), "print": Of(' ', '~'),
		"punct": Of('!', '/', ':', '@', '[', '`', '{', '~'), "space": Of('\t', '\r', ' ', ' '),
		"upper": Of('A', 'Z'), "word": word(), "xdigit": Of('0', '9', 'A', 'F', 'a', 'f'),
	}
	if end := strings.Index(p.src[p.pos:], ":]"); p.has("[:") && end > 0 {
		name := p.src[p.pos+2 : p.pos+end]
		negate := strings.HasPrefix(name, "^")
		if s, ok := classes[strings.TrimPrefix(name, "^")]; ok {
			p.pos += end + 2
			if negate {
				s = s.Not()
			}
			return s, false, nil
		}
	}
	if p.syntax == ECMA {
		p.pos++
		return One('['), true, nil
	}
	return nil, false, p.errorf("only POSIX classes such as [[:alpha:]] begin with %q",
		p.src[p.pos:p.pos+2])
}
