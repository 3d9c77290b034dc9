package chat

import (
	"strconv"
	"strings"
)

// callForm is how a dialect writes calls, but for names and arguments. Control tokens are spelled
// out.
type callForm struct {
	open   string // the first call, up to the name
	next   string // a further one; "" if an answer has one call at most
	behind string // from the name to the arguments
	end    string // behind the arguments
	finish string // behind the last call
}

// form returns the form of a call that so many others precede in the conversation.
func (d *Dialect) form(before int) callForm {
	switch d.name {
	case hermes:
		const open = toolCallOpen + "\n{\"name\": \""
		return callForm{
			open: open, next: "\n" + open, behind: "\", \"arguments\":", end: "}\n" + toolCallClose,
		}
	case qwenCoder:
		const open = toolCallOpen + "\n" + functionOpen
		return callForm{
			open: open, next: "\n" + open, behind: ">\n", end: functionClose + "\n" + toolCallClose,
		}
	case deepseekV3:
		const call = dsCallOpen + "function" + dsSeparator
		return callForm{
			open: dsCallsOpen + call, next: "\n" + call, behind: "\n```json\n",
			end: "\n```" + dsCallClose, finish: dsCallsClose,
		}
	case deepseek31:
		return callForm{
			open: dsCallsOpen + dsCallOpen, next: dsCallOpen, behind: dsSeparator,
			end: dsCallClose, finish: dsCallsClose,
		}
	case kimi:
		const call = kimiCallOpen + "functions."
		return callForm{
			open: kimiCallsOpen + call, next: call,
			behind: ":" + strconv.Itoa(before) + kimiArguments, end: kimiCallClose,
			finish: kimiCallsClose,
		}
	case glm:
		return callForm{
			open: toolCallOpen, next: "\n" + toolCallOpen, behind: "\n", end: toolCallClose,
		}
	case harmony:
		return callForm{
			open:   harmonyStart + assistant + harmonyChannel + "commentary to=functions.",
			behind: " " + harmonyConstrain + "json" + harmonyMessage, end: harmonyCall,
		}
	}
	return callForm{}
}

// calledName returns a function's name as it stands in a call.
func (d *Dialect) calledName(name string) string {
	if d.name == hermes {
		return escaped(name)
	}
	return name
}

// marks are the control tokens of calls and messages.
func (d *Dialect) marks() []string {
	if d.name == harmony {
		return harmonyTags()
	}
	tags, _ := d.calls(nil)
	return append(tags, thinkOpen, thinkClose)
}

// cutMark returns text up to the first control token in it, the token, and what follows; ok is
// false if there is none.
func cutMark(text string, marks []string) (before, mark, after string, ok bool) {
	at, mark := firstOf(text, marks)
	if at < 0 {
		return text, "", "", false
	}
	return text[:at], mark, strings.TrimPrefix(text[at:], mark), true
}
