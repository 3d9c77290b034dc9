package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// charTest returns isalpha and its kin: true if all characters pass and there is at least one.
func charTest(name string) func(s string) bool {
	all := func(is func(r rune) bool) func(string) bool {
		return func(s string) bool {
			return s != "" && strings.IndexFunc(s, func(r rune) bool { return !is(r) }) < 0
		}
	}
	digit := func(r rune) bool {
		return unicode.Is(unicode.Nd, r) || strings.ContainsRune("²³¹", r)
	}
	switch name {
	case "isalpha":
		return all(unicode.IsLetter)
	case "isdecimal":
		return all(func(r rune) bool { return unicode.Is(unicode.Nd, r) })
	case "isdigit":
		return all(digit)
	case "isnumeric":
		return all(unicode.IsNumber)
	case "isalnum":
		return all(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
	case "isspace":
		return all(isSpace)
	case "isascii":
		return func(s string) bool { return s == "" || all(func(r rune) bool { return r < 0x80 })(s) }
	case "isprintable":
		return func(s string) bool { return s == "" || all(unicode.IsPrint)(s) }
	case "isupper":
		return func(s string) bool { return cased(s, true) }
	case "islower":
		return func(s string) bool { return cased(s, false) }
	}
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// upper and lower use full case mappings (ß to SS, final sigma), as Python does.
func upper(s string) string {
	if isASCII(s) {
		return strings.ToUpper(s)
	}
	return cases.Upper(language.Und).String(s)
}

func lower(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	return cases.Lower(language.Und).String(s)
}

func caseMethod(name, s string) string {
	switch name {
	case "upper":
		return upper(s)
	case "lower":
		return lower(s)
	case "casefold":
		return cases.Fold().String(s)
	case "capitalize":
		_, n := utf8.DecodeRuneInString(s)
		return titleRune(s[:n]) + lower(s[n:])
	case "swapcase":
		var b strings.Builder
		for _, r := range s {
			if unicode.IsUpper(r) {
				b.WriteString(lower(string(r)))
			} else {
				b.WriteString(upper(string(r)))
			}
		}
		return b.String()
	}
	var b strings.Builder // title: the first cased character of every run of them
	inside := false
	for _, r := range s {
		if inside {
			b.WriteString(lower(string(r)))
		} else {
			b.WriteString(titleRune(string(r)))
		}
		inside = unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r)
	}
	return b.String()
}

func titleRune(s string) string {
	if isASCII(s) {
		return strings.ToUpper(s)
	}
	return cases.Title(language.Und, cases.NoLower).String(s)
}
