package grammar

import (
	"errors"
	"strings"
	"testing"
)

// Grammars as the documentation of llama.cpp and vLLM, and their users, write them.
const (
	arithmetic = `# expressions
root  ::= (expr "=" ws term "\n")+
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
`
	chess = `
root ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n"){0,3}
move ::= (pawn
  | nonpawn | castle) [+#]?  # check
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?
`
	sql = `
root ::= select_statement
select_statement ::= "SELECT " column "from " table "where " condition
column ::= "col_1 " | "col_2 "
table ::= "table_1 " | "table_2 "
condition ::= column "= " number
number ::= "1 " | "2 "`
	unicode = `root ::= [\u3041-\u3096]{2,} "\u00e9" [^"\\\x00-\x1f] . ""`
)

func TestEBNF(t *testing.T) {
	v := vocabulary(256, 0, 1)
	for _, c := range []struct {
		grammar string
		yes, no []string
	}{
		{arithmetic, []string{"a = 1\n", "(1+x_2)*3 =4\n", "1=1\n2=2\n"}, []string{"", "a\n", "1+=2\n", "A=1\n"}},
		{chess, []string{"1. e4 e5\n", "1. Nf3 d5\n2. exd5 O-O-O+\n"}, []string{"1. e9 e5\n", "1. e4\n"}},
		{unicode, []string{"ひらé+x"}, []string{"ひé+x", "ひらé\"x"}},
		{"root ::= a\na ::= \"x\" | \"\"", []string{"", "x"}, []string{"xx"}},
		{sql, []string{"SELECT col_1 from table_2 where col_2 = 1 "}, []string{"SELECT col_1 "}},
		{`root ::= "a"{2} "b"{1,} "c"{,2} | "[" [^\]] "]"`, []string{"aab", "aabbbcc", "[x]"}, []string{"ab", "aabccc", "[]]"}},
	} {
		x, err := EBNF(c.grammar)
		if err != nil {
			t.Errorf("%s: %v", c.grammar, err)
			continue
		}
		g := compile(t, x, v)
		for _, text := range c.yes {
			if !matches(g, text) {
				t.Errorf("%s: %q is refused", c.grammar, text)
			}
		}
		for _, text := range c.no {
			if matches(g, text) {
				t.Errorf("%s: %q is taken", c.grammar, text)
			}
		}
	}
}

func TestEBNFRefuses(t *testing.T) {
	for src, want := range map[string]string{
		"start: \"a\"":                         "Lark",
		"rot ::= \"a\"":                        `no rule "root"`,
		"root ::= \"a\"\nroot ::= \"b\"":       "line 2: the rule \"root\" is defined twice",
		"root ::= \"a\"\n\n  other":            "line 3: the rule \"other\" is not defined",
		"root ::= \"a":                         "no closing",
		"root ::= [a":                          "missing ]",
		"root ::= [z-a]":                       "out of order",
		"root ::= (\"a\"":                      "missing )",
		"root ::= \"a\")":                      "name of a rule is missing",
		"root ::= \"a\"{3,1}":                  "no number of repetitions",
		"root ::= \"a\"{x}":                    "no number of repetitions",
		"root ::= \"\\q\"":                     `escape \q`,
		"root ::= \"\\ud800\"":                 "not the number of a character",
		"root ::= (= \"a\")":                   "lookahead",
		"root ::= *":                           "not expected",
		"root ::= \"a\" @":                     "not expected",
		"\xff ::= ":                            "not UTF-8",
		"root ::= " + strings.Repeat("(", 999): "nested more than",
	} {
		_, err := EBNF(src)
		var e *EBNFError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error %v, want one with %q", src, err, want)
		}
	}
}

func FuzzEBNF(f *testing.F) {
	for _, src := range []string{arithmetic, chess, unicode, `root ::= root "a" | "b"`, `root ::= ""{1,9}`} {
		f.Add(src)
	}
	v := vocabulary(400, 0, 1)
	f.Fuzz(func(_ *testing.T, src string) {
		x, err := EBNF(src)
		if err != nil {
			return
		}
		if g, err := Compile(x, v); err == nil {
			m := g.NewMatcher()
			m.Mask(make([]uint64, v.Words()), 50)
		}
	})
}

func FuzzRegex(f *testing.F) {
	for _, p := range patterns {
		f.Add(p)
	}
	v := vocabulary(400, 0, 1)
	f.Fuzz(func(_ *testing.T, pattern string) {
		x, err := Regex(pattern)
		if err != nil {
			return
		}
		if g, err := Compile(x, v); err == nil {
			m := g.NewMatcher()
			m.Mask(make([]uint64, v.Words()), 50)
		}
	})
}
