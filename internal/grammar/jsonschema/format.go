package jsonschema

// Parts of formats.
const (
	year     = `[0-9]{4}`
	leap     = `([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)`
	days31   = `(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])`
	days30   = `(0[469]|11)-(0[1-9]|[12][0-9]|30)`
	days28   = `02-(0[1-9]|1[0-9]|2[0-8])`
	date     = `(` + year + `-(` + days31 + `|` + days30 + `|` + days28 + `)|` + leap + `-02-29)`
	many     = `[0-9]{1,9}`
	clock    = `([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?`
	zone     = `(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])`
	octet    = `(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])`
	ipv4     = octet + `(\.` + octet + `){3}`
	hexGroup = `[0-9a-fA-F]{1,4}`
	label    = `[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?`
	domain   = label + `(\.` + label + `){0,3}`
	atom     = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}"
	escape   = `%[0-9A-Fa-f]{2}`
	pchar    = `([A-Za-z0-9._~!$&'()*+,;=:@-]|` + escape + `)`
	segment  = pchar + `*`
	query    = `([A-Za-z0-9._~!$&'()*+,;=:@/?-]|` + escape + `)*`
)

// format returns a regular expression of strings that have a format, or "" for one that is only an
// annotation. It may leave out rare forms: a literal address in an email, leap seconds, years of
// five digits.
func format(name string) string {
	switch name {
	case "date":
		return `^` + date + `$`
	case "time":
		return `^` + clock + zone + `$`
	case "date-time":
		return `^` + date + `T` + clock + zone + `$`
	case "duration":
		const (
			minutes = many + `M(` + many + `S)?`
			hms     = `T(` + many + `H(` + minutes + `)?|` + minutes + `|` + many + `S)`
			months  = many + `M(` + many + `D)?`
			ymd     = `(` + many + `Y(` + months + `)?|` + months + `|` + many + `D)`
		)
		return `^P(` + ymd + `(` + hms + `)?|` + hms + `|` + many + `W)$`
	case "uuid":
		return `^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`
	case "email":
		return `^` + atom + `(\.` + atom + `){0,2}@` + domain + `$`
	case "hostname":
		// a label "xn--…" has rules of its own
		return `^` + plainLabel + `(\.` + plainLabel + `){0,3}$`
	case "ipv4":
		return `^` + ipv4 + `$`
	case "ipv6":
		return `^(` + ipv6() + `)$`
	case "uri":
		return `^[A-Za-z][A-Za-z0-9+.-]*:(//(` + domain + `|` + ipv4 + `)(:[0-9]{1,5})?(/` + segment +
			`)*|/?` + pchar + segment + `(/` + segment + `)*)(\?` + query + `)?(#` + query + `)?$`
	case "json-pointer":
		return `^(/([^/~]|~[01])*)*$`
	}
	return ""
}

// plainLabel is a label without two hyphens in places three and four.
const plainLabel = `(` + letter + `|` + letter + `[A-Za-z0-9-]?` + letter + `|` +
	letter + `[A-Za-z0-9-]` + letter + `[A-Za-z0-9-]{0,59}` + letter + `)`

const letter = `[A-Za-z0-9]`

// ipv6 returns the addresses of RFC 4291: eight groups, or fewer around "::".
func ipv6() string {
	all := `(` + hexGroup + `:){7}` + hexGroup + `|(` + hexGroup + `:){6}` + ipv4
	for before := range 8 {
		head := ""
		if before > 0 {
			head = hexGroup + `(:` + hexGroup + `){` + string(rune('0'+before-1)) + `}`
		}
		behind := 7 - before // groups that may follow
		all += `|` + head + `::`
		if behind > 0 {
			all += `(` + hexGroup + `(:` + hexGroup + `){0,` + string(rune('0'+behind-1)) + `})?`
		}
		if behind > 1 {
			all += `|` + head + `::(` + hexGroup + `:){0,` + string(rune('0'+behind-2)) + `}` + ipv4
		}
	}
	return all
}
